"""Everything that happens: data, rewards, training, evaluation and the jobs that run them. Imports no gradio."""
