"""The titles of the messages that appear over the page.

Gradio's page writes the kind of a message over it, «Error», and leaves out the title that Python gave. What a person
can mend is no error of the app, so such a message carries its title in its own text, and the page's script writes that
over it; so does what Gradio says of a file of the wrong kind. Messages of a kind share one box: where their titles
differ, it keeps Gradio's word, and each shows its own.
"""

import html

MEND = "This needs a change"
FAILED = "This did not work"
HEAD = """<style>.toast-body.own-title .toast-message-text > strong:first-child { display: none; }</style><script>{
  const named = text => text.querySelector(":scope > strong:first-child")?.textContent ??
    (/^(Invalid file type|File size exceeds)/.test(text.textContent.trim()) ? "MEND" : undefined);
  const toasts = document.getElementsByClassName("toast-body");
  new MutationObserver(() => {
    for (const toast of toasts) {
      const title = toast.querySelector(".toast-title")?.firstChild;
      const texts = [...toast.querySelectorAll(".toast-message-text")];
      if (!title || !texts.length) continue;  // closed to its title
      toast.dataset.kind ??= title.data;
      const titles = new Set(texts.map(named));
      const own = titles.size === 1 && [...titles][0], words = own || toast.dataset.kind;
      toast.classList.toggle("own-title", Boolean(own));
      if (title.data !== words) title.data = words;
    }
  }).observe(document, {childList: true, subtree: true});
}</script>""".replace("MEND", MEND)


def titled(title: str, words: str) -> str:
    """A message (safe HTML) under a title of its own."""
    return f"<strong>{html.escape(title)}</strong> {words}"
