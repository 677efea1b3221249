"""The course as a folder of pages that open from disk, without Python, a server or any request: `make site`.

markup.py     Markdown, mathematics, code and kept outputs as HTML
explorers.py  the explorers of a chapter, drawn once and written as scripts
chapters.py   a kept notebook as a page
lists.py      the first page, the glossary, and the index of methods
build.py      all of them, with the search index, in build/site
handout.py    the exercises on one page, without and with their solutions: `make handout`
slides.py     each chapter as slides in one file: `make slides`
"""
