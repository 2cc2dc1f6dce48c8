"""What a model card says of the text that a model was trained on: where it is from, and what is known of its rights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tinylm.report.numbers import number


@dataclass(frozen=True)
class Text:
    """The text in the words of a model card."""

    front_matter: Mapping[str, Any]  # language, licence and data sets, as far as they are known
    dataset: Mapping[str, Any]  # of the score, in the front matter's model-index
    description: str  # follows "trained on"
    licence: str  # a paragraph
    limit: str  # what the model cannot know


def text_of(download: Mapping[str, Any]) -> Text:
    """Return the words for the source that was used, by metrics/download.json.

    Names of own files are not in them: a card is public.
    """
    stories = f"{number(download['train']['stories'])} stories"
    match download["source_used"]:
        case "tinystories":
            return _tinystories(stories, download["provenance"])
        case "sample":
            return _sample(stories)
        case _:
            return _files(stories)


def _tinystories(stories: str, provenance: Mapping[str, Any]) -> Text:
    repository, revision = provenance["repository"], provenance["revision"]
    return Text(
        front_matter={"language": "en", "license": "cdla-sharing-1.0", "datasets": [repository]},
        dataset={"name": "TinyStories", "type": repository, "split": "validation", "revision": revision},
        description=f"{stories} of [TinyStories](https://huggingface.co/datasets/{repository}) "
        f"({provenance['variant']}, revision `{revision}`)",
        licence="The `license` above, CDLA-Sharing-1.0, is that of TinyStories (Eldan and Li, 2023), which GPT-3.5 and "
        "GPT-4 have written. For the weights no other licence has been chosen.",
        limit="It knows English stories in the words of small children, and nothing of the world beyond them.",
    )


def _sample(stories: str) -> Text:
    return Text(
        front_matter={"language": "en", "license": "apache-2.0"},
        dataset={"name": "tinylm's built-in stories", "type": "tinylm-sample", "split": "validation"},
        description=f"{stories} of tinylm's built-in generator",
        licence="The `license` above, Apache-2.0, is that of tinylm, whose generator has made the stories. For the "
        "weights no other licence has been chosen.",
        limit="The built-in stories are far more regular than real ones: the score says nothing about other text.",
    )


def _files(stories: str) -> Text:
    return Text(
        front_matter={},
        dataset={"name": "held-out part of own files", "type": "own-files", "split": "validation"},
        description=f"{stories} from files of its author",
        licence="No licence is claimed: the pipeline does not know who holds the rights to the text, nor its language. "
        "Whoever publishes the model has to settle that first, and to add `license` and `language` to this card.",
        limit="What the text contains is not known here; the model may repeat private or protected parts of it.",
    )
