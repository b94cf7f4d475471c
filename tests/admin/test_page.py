"""The files of the status page: complete, served as what they are, and such as its policy lets run."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from support.admin import open_admin

from trioproxy.admin.page import INDEX, POLICY, page_files

FILES = page_files()
TEXTS = {name: file.content.decode() for name, file in FILES.items()}
DIRECTIVES = dict(each.strip().split(" ", 1) for each in POLICY.split(";"))


class Index(HTMLParser):
    """Its tags with their attributes, in order."""

    def __init__(self):
        super().__init__()
        self.tags = []
        self.feed(TEXTS[INDEX])

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


TAGS = Index().tags


def test_nothing_runs_or_loads_but_what_is_served_here():
    allowed = {name for name, value in DIRECTIVES.items() if value == "'self'"}
    assert allowed == {"script-src", "style-src", "img-src", "connect-src"}
    forbidden = {"default-src", "base-uri", "form-action", "frame-ancestors", "trusted-types"}
    assert {name for name, value in DIRECTIVES.items() if value == "'none'"} == forbidden
    assert set(DIRECTIVES) - allowed - forbidden == {"require-trusted-types-for"}


def test_the_page_has_no_inline_script_or_style_which_the_policy_would_stop():
    for tag, attributes in TAGS:
        assert tag != "style" and not {name for name in attributes if name == "style" or name.startswith("on")}
        assert tag != "script" or "src" in attributes


def test_everything_the_files_name_is_among_them():
    named = [value for _, attributes in TAGS for name, value in attributes.items() if name in {"src", "href"}]
    assert {name.removeprefix("/page/") for name in named if name.startswith("/page/")} <= set(FILES)
    imported = {name for text in TEXTS.values() for name in re.findall(r'from "\./([^"]+)"', text)}
    assert imported <= set(FILES)
    assert imported | {INDEX, "page.js", "page.css", "icon.svg"} == set(FILES)


def test_no_file_names_another_place():
    names = {name for text in TEXTS.values() for name in re.findall(r"https?://[^\"'\s)]+", text)}
    assert names == {"http://www.w3.org/2000/svg"}  # a namespace's name, which nobody asks for
    assert not any("@import" in text or "url(" in text for text in TEXTS.values())


def test_every_element_the_scripts_ask_for_is_on_the_page():
    there = {attributes["id"] for _, attributes in TAGS if "id" in attributes}
    assert {name for text in TEXTS.values() for name in re.findall(r'byId\("([^"]+)"\)', text)} <= there


def test_no_script_makes_markup_of_text():
    for name, text in TEXTS.items():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text), (
            name
        )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("page.js", "text/javascript; charset=utf-8"),
        ("page.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
async def test_a_file_is_served_as_what_it_is_to_everybody(tmp_path, name, kind):
    (tmp_path / "token").write_text("secret")
    async with open_admin(token_file=str(tmp_path / "token")) as admin:
        answer = await admin.get(f"/page/{name}", host="10.1.2.3:9464")
        assert (answer.status, answer.body) == (200, FILES[name].content)
        assert answer.headers["content-type"] == kind
        assert answer.headers["content-security-policy"] == POLICY
        index = await admin.get("/", host="10.1.2.3:9464")
        assert (index.status, index.body) == (200, FILES[INDEX].content)


@pytest.mark.parametrize("name", ["nothing.js", "..%2fapp.py", "%2e%2e/app.py", "status-page", ""])
async def test_nothing_else_of_the_package_is_served(name):
    async with open_admin() as admin:
        assert (await admin.get(f"/page/{name}")).status == 404
