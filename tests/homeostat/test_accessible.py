"""A page in a browser: no axe violation in light and in dark, anchors that unfold what they lead into.

axe-core is that of the package axe-core-python (Deque's axe, MPL 2.0), one file; the browser is whichever Chromium is there.
"""

import importlib.util
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from homeostat.gallery.made import Made
from homeostat.gallery.report import POLICY, Section, write_report
from homeostat.gallery.table import Table
from homeostat.pictures import figure_of, people_axes, write_picture
from tests.homeostat.test_pictures import build, people
from training.trust.verdicts import Verdict

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = importlib.util.find_spec("axe_core_python")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is found"),
]

# what axe finds, written into the page, from where the browser prints it
ASK = """
document.querySelectorAll('details').forEach(one => { one.open = OPEN; });
axe.run(document, {resultTypes: ['violations', 'incomplete']}).then(found => {
  const said = found.violations.map(v => ({id: v.id, nodes: v.nodes.map(n => n.html.slice(0, 200) + ' ' + n.failureSummary)}));
  const out = document.createElement('script');
  out.type = 'application/json'; out.id = 'found';
  out.textContent = JSON.stringify({violations: said, passes: found.passes.length,
    dark: getComputedStyle(document.body).backgroundColor});
  document.body.appendChild(out);
});
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    panels = people_axes(build(N=2), people(2), forecast_from=5.0, title="Two people")
    figure = figure_of(panels)
    first, second = (
        write_picture(figure, folder, name, title=f"{name} of two", caption=f"Read {name} so.", alt=f"{name}: two curves.")
        for name in ("people", "fits")
    )
    rows = [("hybrid", 0.5), ("backbone alone", 0.25)]
    table = Table("Scores", ("model", "CRPS (mg/L)"), rows, "A note.", {"CRPS (mg/L)": "low"})
    return write_report(
        folder / "report.html",
        title="A page",
        opening=["What it is.", "What is proved.", "How far to trust it."],
        made=Made("homeostat demo", "2026-01-02T03:04:05Z"),
        picture=first,
        verdicts=[Verdict("Good", True, "why"), Verdict("Bad", False, "why"), Verdict("Neither", None, "why")],
        notes=["A note."],
        sections=[Section("Folded", "What is inside.", ["A paragraph."], [second], [table]), Section("Another", "More.")],
        provenance={"seed": "1"},
    )


def browse(address: str, *options: str) -> str:
    # a profile of its own: two browsers on one wait for each other
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        command += ["--virtual-time-budget=20000", *options, address]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.skipif(AXE is None, reason="axe-core-python is not installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_axe_finds_no_violation(page: Path, scheme: str, width: int) -> None:
    assert AXE is not None
    assert AXE.origin is not None
    axe = (Path(AXE.origin).parent / "axe.min.js").read_text("utf-8")
    source = page.read_text("utf-8")
    for folded in ("true", "false"):
        script = f"<script>{axe}</script><script>{ASK.replace('OPEN', folded)}</script>"
        copy = page.with_name(f"{scheme}-{width}-{folded}.html")
        # the page itself forbids every script: this copy does not
        copy.write_text(re.sub(r"<meta http-equiv[^>]*>", "", source).replace("</body>", f"{script}</body>"), "utf-8")
        preferred = 0 if scheme == "dark" else 1
        options = [f"--window-size={width},900", f"--blink-settings=preferredColorScheme={preferred}"]
        shown = browse(copy.as_uri(), *options, "--dump-dom")
        answer = re.search(r'<script type="application/json" id="found">(.*?)</script>', shown, re.DOTALL)
        assert answer is not None, shown[-500:]
        found = json.loads(answer[1])
        assert found["violations"] == []
        assert found["passes"] > 10
        assert found["dark"] == ("rgb(20, 25, 30)" if scheme == "dark" else "rgb(255, 255, 255)")


def test_an_address_unfolds_what_it_leads_into(page: Path) -> None:
    """By the browser alone: the page has no script."""
    source = page.read_text("utf-8")
    assert POLICY in source
    which = "[...document.querySelectorAll('details')].map(one => one.open).join()"
    probe = f"<script>setTimeout(() => {{ document.title = {which} }}, 500)</script>"
    copy = page.with_name("anchor.html")
    copy.write_text(re.sub(r"<meta http-equiv[^>]*>", "", source).replace("</body>", f"{probe}</body>"), "utf-8")
    for anchor, opened in (("", "false,false,false"), ("#section-folded", "true,false,false"), ("#scores", "true,false,false")):
        assert f"<title>{opened}</title>" in browse(copy.as_uri() + anchor, "--dump-dom"), anchor
