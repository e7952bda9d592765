"""The errors of the pipeline. Each message says what happened, the value, and what to do next."""


class StudioError(Exception):
    """Base class: something a person can act on; the message is shown to them as it is."""


class RecipeError(StudioError):
    """The settings contradict themselves or are out of bounds."""


class DatasetError(StudioError):
    """The data cannot be read, mapped or used."""


class RewardError(StudioError):
    """A reward is configured wrongly or cannot score."""


class EngineError(StudioError):
    """A model cannot be loaded, trained, sampled or merged here."""


class RunError(StudioError):
    """A run, its folder or its worker is not in a state that allows the request."""
