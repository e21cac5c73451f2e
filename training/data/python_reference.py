"""The language reference that every Python installation carries, as a corpus of English text."""

from pydoc_data.topics import topics


def documents() -> dict[str, str]:
    """The text of each topic by its name, in the order of the names.

    Topics quote one another at length: of equal paragraphs only the first is kept, so that no
    paragraph can be in two parts of a split.
    """
    seen: set[str] = set()
    texts = {}
    for topic in sorted(topics):
        kept = []
        for paragraph in topics[topic].strip("\n").split("\n\n"):
            if paragraph.strip() not in seen:
                seen.add(paragraph.strip())
                kept.append(paragraph)
        texts[topic] = "".join(f"{paragraph}\n\n" for paragraph in kept)
    return texts
