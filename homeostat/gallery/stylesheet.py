"""How a page looks: light, dark, on a phone, and on paper."""

from homeostat.pictures.colours import declarations

# the colours that the page's own words need; those of the pictures come from their own table, so that both always agree
_LIGHT = """--quiet: #55616c; --rule: #dfe4e8; --raised: #f5f7f9;
  --good: #00694f; --bad: #a63800; --accent: #0b4a7a;"""
_DARK = """--quiet: #a3b0bb; --rule: #34404b; --raised: #1d242b;
  --good: #4fc9a4; --bad: #ff9a5c; --accent: #8cc4f0;"""
_PAPER = """--quiet: #444; --rule: #bbb; --raised: #fff; --good: #00694f; --bad: #a63800;
  --accent: #0b4a7a;"""

_RULES = """
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0; background: var(--hs-page); color: var(--hs-ink); font: 17px/1.6 Charter, "Bitstream Charter", "Sitka Text",
  Cambria, Georgia, serif; overflow-wrap: anywhere; }
td, th { overflow-wrap: normal; }
main { max-width: 66rem; margin: 0 auto; padding: 2.6rem 1.5rem 5rem; }
h1, h2, h3, th, .mark, .claim, figcaption b, dt, .number, nav, summary, .files, .made { font-family: system-ui,
  -apple-system, "Segoe UI", "Helvetica Neue", "Liberation Sans", Arial, sans-serif; }
h1 { font-size: 2.2rem; line-height: 1.18; letter-spacing: -0.015em; margin: 0 0 0.5rem; max-width: 46rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 0.4rem; }
h3 { font-size: 1rem; margin: 2rem 0 0.5rem; }
p { margin: 0 0 0.9rem; max-width: 46rem; }
a { color: var(--accent); text-underline-offset: 0.15em; }
a:focus-visible, summary:focus-visible, .scroll:focus-visible { outline: 3px solid var(--accent); outline-offset: 3px;
  border-radius: 3px; }
.made { color: var(--quiet); font-size: 0.85rem; max-width: none; margin: 0 0 1.4rem; }
code { font: 0.92em/1.4 ui-monospace, "SF Mono", "Cascadia Mono", "Liberation Mono", Menlo, monospace; overflow-wrap: anywhere; }
.opening { font-size: 1.12rem; list-style: none; margin: 1.6rem 0 0; padding: 0; max-width: 48rem; }
.opening li { margin: 0 0 0.7rem; }
nav { font-size: 0.92rem; margin: 1.6rem 0 0; padding: 0.8rem 1.1rem; background: var(--raised); border-radius: 6px; }
nav h2 { font-size: 0.92rem; margin: 0 0 0.3rem; }
nav ul { margin: 0; padding: 0; list-style: none; columns: 18rem; column-gap: 2rem; }
nav li { margin: 0 0 0.25rem; break-inside: avoid; }
.verdicts { list-style: none; margin: 0.8rem 0 0; padding: 0; border-top: 1px solid var(--rule); }
.verdicts li { display: grid; grid-template-columns: 2.2rem 1fr; padding: 0.85rem 0; border-bottom: 1px solid var(--rule); }
.verdicts li > div { min-width: 0; overflow-wrap: anywhere; }
.mark { font-weight: 700; font-size: 1.1rem; line-height: 1.5; }
.good .mark { color: var(--good); } .bad .mark { color: var(--bad); } .neutral .mark { color: var(--quiet); }
.claim { font-weight: 600; }
.detail { color: var(--quiet); font-size: 0.95rem; display: block; max-width: 48rem; }
details { border-bottom: 1px solid var(--rule); }
.more { border: 0; font-size: 0.95rem; } .more > summary { padding: 0.2rem 0; color: var(--quiet); }
.folded { margin-top: 2.6rem; border-top: 1px solid var(--rule); }
summary { cursor: pointer; padding: 0.9rem 0; display: grid; grid-template-columns: 1.4rem 1fr; align-items: baseline; }
summary::-webkit-details-marker { display: none; }
summary::before { content: "+"; color: var(--accent); font-weight: 700; }
details[open] > summary::before { content: "−"; }
summary h2 { margin: 0; font-size: 1.12rem; }
summary p { grid-column: 2; margin: 0.15rem 0 0; color: var(--quiet); font-size: 0.9rem; max-width: 50rem; }
.inside { padding: 0.2rem 0 2rem; scroll-margin-top: 6rem; }
.inside > :first-child { margin-top: 0.4rem; }
.inside, figure, section { scroll-margin-top: 6rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.94rem; min-width: 50%; }
th { font-size: 0.85em; font-weight: 600; color: var(--quiet); text-align: left; vertical-align: bottom; }
tbody th { font-family: inherit; font-size: inherit; font-weight: inherit; color: inherit; vertical-align: baseline; }
th, td { padding: 0.45rem 1.4rem 0.45rem 0; border-bottom: 1px solid var(--rule); }
th:first-child { min-width: 6rem; } th.long { overflow-wrap: anywhere; } td.whole { white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
thead th { border-bottom: 1.5px solid var(--quiet); }
th.number, td.number { text-align: right; }
td.number { font-variant-numeric: tabular-nums lining-nums; font-size: 0.96em; white-space: nowrap; }
td.best { font-weight: 700; color: var(--accent); }
.note { color: var(--quiet); font-size: 0.9rem; margin-top: 0.6rem; }
.files { font-size: 0.85rem; color: var(--quiet); margin-top: 0.5rem; }
figure { margin: 2rem 0 0; }
.first { margin-top: 1.2rem; }
figure svg { display: block; width: 100%; height: auto; min-width: min(44rem, var(--wide)); max-width: var(--wide); }
figcaption { color: var(--quiet); font-size: 0.95rem; margin-top: 0.7rem; max-width: 48rem; }
figcaption b { color: var(--hs-ink); font-size: 0.92rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.35rem 1.6rem; font-size: 0.9rem; margin: 0; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { main { padding: 1.6rem 1rem 3rem; } h1 { font-size: 1.6rem; } .opening { font-size: 1.05rem; }
  body { font-size: 16px; } .verdicts li { grid-template-columns: 1.6rem 1fr; }
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; } dd { margin-bottom: 0.6rem; } }
"""

# on paper everything is unfolded: what is hidden there cannot be clicked
_PRINT = """
  body { font-size: 10pt; } main { max-width: none; padding: 0; } .scroll { overflow: visible; }
  figure svg { min-width: 0; max-height: 225mm; } nav, .zoom { display: none; }
  details::details-content { content-visibility: visible; display: block; block-size: auto; }
  details { display: block; } summary { list-style: none; display: block; }
  summary::before, details[open] > summary::before { content: none; }
  .verdicts li, tr, dt, dd, figure, summary { break-inside: avoid; } h2, h3, summary, summary p, thead { break-after: avoid; }
  .inside > p { break-after: avoid; break-inside: avoid; }
  section:not(:has(tbody tr:nth-child(13))) { break-inside: avoid; }
  .note, .files, dd { break-before: avoid; } p { orphans: 3; widows: 3; }
  table { font-size: 8.5pt; } th, td { padding: 0.15rem 0.7rem 0.15rem 0; }
  td.number { white-space: normal; } @page { margin: 16mm; }
"""


def stylesheet() -> str:
    """The page's rules, with the colours that the pictures draw with; and on paper with those of paper."""
    return (
        f":root {{ color-scheme: light dark; {_LIGHT} {declarations('light')} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} {declarations('dark')} }} }}\n"
        f"{_RULES}"
        f"@media print {{ :root {{ color-scheme: light; {_PAPER} {declarations('paper')} }}\n{_PRINT} }}\n"
    )
