"""The README on a package index: no link leads to a file that is not there."""

from docs.site.long_description import for_an_index

README = """# x
[folder](physics/README.md#boxes) and [out](https://example.org/a) and [here](#x) and `f(x)[0](y)`
![What is seen](docs/hero.png)
[![badge](docs/b.svg)](./LICENSE)
<a href="docs/a.md"><img src="docs/hero.svg" alt="seen"></a>
"""


def test_links_lead_into_the_repository_at_this_version() -> None:
    text = for_an_index(README, "https://example.org/us/", "1.2")
    assert "[folder](https://example.org/us/blob/v1.2/physics/README.md#boxes)" in text
    assert "[out](https://example.org/a) and [here](#x)" in text
    assert "![What is seen](https://example.org/us/raw/v1.2/docs/hero.png)" in text
    assert "[![badge](https://example.org/us/raw/v1.2/docs/b.svg)](https://example.org/us/blob/v1.2/LICENSE)" in text
    assert '<a href="https://example.org/us/blob/v1.2/docs/a.md"><img src="https://example.org/us/raw/v1.2/' in text


def test_without_a_repository_links_are_their_text() -> None:
    text = for_an_index(README, None, "1.2")
    assert "folder and [out](https://example.org/a) and [here](#x)" in text
    assert "*What is seen*" in text
    assert "*seen*" in text
    assert "docs/" not in text
    assert "LICENSE" not in text
