"""Elements as text."""

from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from trioproxy.chaos.report.markup import Markup, element, joined


def test_an_element_has_its_children_and_attributes():
    inner = element("b", "x")
    assert element("p", "1 < 2 ", inner, class_="quiet", data_label="a", id=None, x=1.50) == (
        '<p class="quiet" data-label="a" x="1.5">1 &lt; 2 <b>x</b></p>'
    )
    assert element("meta", charset="utf-8", name="x") == '<meta charset="utf-8" name="x">'


def test_markup_is_kept_and_text_is_escaped():
    assert joined([Markup("<br>"), "<br>"]) == "<br>&lt;br&gt;"
    assert isinstance(joined(["x"]), Markup)


VISIBLE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)


@given(VISIBLE | st.sampled_from(["<script>", "</p>", '"', "' onload='x", "&amp;", "]]>", "<!--"]))
def test_no_text_becomes_markup_where_it_comes_from_outside(text):
    (read,) = ET.fromstring(element("p", element("b", text, title=text)))
    assert (read.text or "", read.get("title"), list(read)) == (text, text, [])
