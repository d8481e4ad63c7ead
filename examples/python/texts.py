"""Makes the texts that docs/models.md measures on, out of packages of Debian 12.

    python3 examples/python/texts.py FOLDER

It needs apt-get, dpkg-deb and the package rdata of PyPI. FOLDER gets

    book.txt          one technical book, to calibrate on (The Debian Administrator's Handbook, chapters 1 to 9)
    book-test.txt     other chapters of it (10 to 12)
    novels.txt        to calibrate on: a novel (Persuasion)
    novels-test.txt   another novel of another author (Moby-Dick, from chapter 21 on)
    manuals.txt       to calibrate on: a manual (PostgreSQL, 86 pages)
    manuals-test.txt  another manual (GIMP)
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zlib
from html.parser import HTMLParser
from pathlib import Path

import rdata

PACKAGES = ("debian-handbook", "r-cran-janeaustenr", "r-cran-tokenizers", "postgresql-doc-15", "gimp-help-en")
CHAPTERS = """the-debian-project case-study existing-setup installation packaging-system apt solving-problems
    basic-configuration unix-services""".split()
TEST_CHAPTERS = "network-infrastructure network-services advanced-administration".split()
PAGES_OF_POSTGRESQL = """tutorial- mvcc transaction-iso explicit-locking applevel-consistency locking-indexes indexes
    planner- using-explain explicit-joins populate routine- logfile- backup continuous- warm-standby hot-standby wal
    ddl""".split()
PAGES_OF_GIMP = ("gimp-", "introduction", "plug-in", "script-fu", "gegl")
LENGTH = 400_000
LONGEST = 600_000

PARTS = set("p div h1 h2 h3 h4 h5 h6 li dt dd tr table ul ol dl pre section title blockquote hr".split())
HIDDEN = set("script style head nav footer".split())
WITHOUT_END = set("br hr img input meta link col area base source wbr".split())
NAVIGATION = {"docnav", "toc", "producttitle", "footer", "navheader", "navfooter", "revision", "table-contents"}


class Reader(HTMLParser):
    """Collects the text of a page without its navigation."""

    def __init__(self) -> None:
        """Begins a page."""
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A part of the page begins with a new paragraph."""
        classes = set((dict(attrs).get("class") or "").split())
        if tag not in WITHOUT_END:
            self.open.append((tag, tag in HIDDEN or bool(classes & NAVIGATION)))
        if tag == "br":
            self.parts.append("\n")
        elif tag in PARTS:
            self.parts.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        """A part of the page ends with its paragraph."""
        if tag in {opened for opened, _ in self.open}:
            while self.open.pop()[0] != tag:
                pass
        if tag in PARTS:
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        """Keeps what is shown; white space is as it is in what is formatted already."""
        if not any(hidden for _, hidden in self.open):
            formatted = any(tag == "pre" for tag, _ in self.open)
            self.parts.append(data if formatted else re.sub(r"\s+", " ", data))


def text_of(page: Path) -> str:
    """The text of an HTML page, its paragraphs separated by empty lines."""
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8", errors="replace"))
    text = "".join(reader.parts).replace("\u00a0", " ").replace("\u200b", "")
    text = re.sub(r"[ \t]+\n", "\n", text)
    text = re.sub(r"\n (?=\S)", "\n", text)
    text = re.sub(r"\n{3,}", "\n\n", text).replace("Download the ebook\n\n", "")
    return text.strip() + "\n\n"


def linked(folder: Path) -> list[str]:
    """The pages that the index of a folder links to, in its order."""
    index = (folder / "index.html").read_text(encoding="utf-8", errors="replace")
    links = dict.fromkeys(re.findall(r'href="([^"#]+\.html)', index))
    return [page for page in links if page != "index.html" and (folder / page).exists()]


def chapters(folder: Path, chosen: list[str]) -> str:
    """Chapters of the handbook, each with its sections, which the index lists after it."""
    of_chapter: dict[str, list[str]] = {}
    chapter = ""
    for page in linked(folder):
        if not page.startswith("sect."):
            chapter = page.removesuffix(".html")
        of_chapter.setdefault(chapter, []).append(page)
    return "".join(text_of(folder / page) for name in chosen for page in of_chapter[name])


def pages(folder: Path, beginnings: tuple[str, ...], names: list[str]) -> str:
    """The pages whose names begin so."""
    return "".join(text_of(folder / page) for page in names if page.startswith(beginnings))


def novel(root: Path, package: str, name: str) -> str:
    """A text that a package of R has, the lines of each paragraph joined."""
    data = root / f"usr/lib/R/site-library/{package}/data"
    index = {str(key): place for key, place in rdata.read_rds(data / "Rdata.rdx")["variables"].items()}
    start, length = index[name]
    packed = (data / "Rdata.rdb").read_bytes()[start : start + length]
    lines = rdata.conversion.convert(rdata.parser.parse_data(zlib.decompress(packed[4:])))
    paragraphs = re.split(r"\n\s*\n", "\n".join(str(line) for line in lines))
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip()) + "\n"


def main() -> None:
    """Fetches the packages, and writes the texts."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)

    def write(name: str, text: str) -> None:
        (folder / name).write_text(text, encoding="utf-8")
        print(f"{name}: {len(text):,} characters")

    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=root, check=True)
        for package in root.glob("*.deb"):
            print(package.name)
            subprocess.run(["dpkg-deb", "-x", package, root], check=True)
        docs = root / "usr/share/doc"
        handbook = docs / "debian-handbook/html/en-US"
        write("book.txt", chapters(handbook, CHAPTERS))
        write("book-test.txt", chapters(handbook, TEST_CHAPTERS))
        write("novels.txt", novel(root, "janeaustenr", "persuasion"))
        other = novel(root, "tokenizers", "mobydick")
        start = other.index("CHAPTER 21", 10_000)  # after the table of contents
        write("novels-test.txt", other[start : start + LENGTH])
        postgresql = docs / "postgresql-doc-15/html"
        all_pages = dict.fromkeys(linked(postgresql) + sorted(page.name for page in postgresql.glob("*.html")))
        write("manuals.txt", pages(postgresql, tuple(PAGES_OF_POSTGRESQL), list(all_pages))[:LONGEST])
        gimp = root / "usr/share/gimp/2.0/help/en"
        write("manuals-test.txt", pages(gimp, PAGES_OF_GIMP, linked(gimp))[:LENGTH])


if __name__ == "__main__":
    main()
