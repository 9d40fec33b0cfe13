"""The look that the pages of evaluation share, and the frame of a page.

In: a title and a body that is HTML already. Out: a page without script, without other files, and
with a content security policy that forbids both.
"""

from html import escape

STYLE = """
:root { color-scheme: light dark; --page: #f6f6f4; --card: #fff; --line: #dcdcd6; --ink: #1d1f21;
  --soft: #666a6e; --track: #e9e9e4; --good: #2f7d3b; --bad: #b3392c; --partly: #9a6a00;
  --series0: #2b6cb0; --series1: #d0661b; --series2: #2c8a74; --series3: #8a56b8;
  --series4: #7a7a35; }
@media (prefers-color-scheme: dark) { :root { --page: #17181a; --card: #212326; --line: #3a3d41;
  --ink: #e6e6e3; --soft: #a3a7ab; --track: #33363a; --good: #79c286; --bad: #ff8d80;
  --partly: #e0b04a; --series0: #74aee8; --series1: #f0995a; --series2: #62c4aa;
  --series3: #c39be6; --series4: #c2c27a; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0 auto; padding: 28px; max-width: 1280px; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans CJK SC", sans-serif; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 6px; overflow-wrap: anywhere; }
h2 { font-size: 16px; margin: 0 0 12px; overflow-wrap: anywhere; }
h3 { font-size: 21px; margin: 0; overflow-wrap: anywhere; }
h4 { font-size: 13px; margin: 0 0 6px; color: var(--soft); font-weight: 600; }
p { margin: 8px 0 0; overflow-wrap: anywhere; }
a { color: inherit; }
.soft, .facts { color: var(--soft); }
.facts { margin: 0 0 20px; }
.facts b { color: var(--ink); font-weight: 600; }
.panel, .card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.panel { padding: 16px 18px; min-width: 0; margin: 0 0 18px; }
.panel > p { color: var(--soft); font-size: 13px; }
.two { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 18px;
  align-items: start; }
.two.alone { grid-template-columns: minmax(0, 1fr); }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { padding: 7px 10px; text-align: right; font-weight: 400; vertical-align: middle;
  border-top: 1px solid var(--line); font-variant-numeric: tabular-nums; white-space: nowrap; }
thead th, thead td { border-top: 0; color: var(--soft); font-size: 13px; vertical-align: bottom;
  white-space: normal; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
tbody th { white-space: normal; overflow-wrap: anywhere; font-weight: 600; min-width: 110px; }
tbody th small { display: block; color: var(--soft); font-weight: 400; font-size: 12px; }
td small { color: var(--soft); font-size: 12px; font-weight: 400; }
td.own, th.own { font-weight: 700; }
.stripcell { width: 34%; min-width: 190px; }
.strip { position: relative; display: block; height: 20px; }
.strip::before { content: ""; position: absolute; inset: 8px 0; background: var(--track);
  border-radius: 2px; }
.strip i { position: absolute; }
.strip .reach { top: 6px; height: 8px; background: var(--series0); opacity: .38; border-radius: 4px;
  min-width: 3px; }
.strip .dot { top: 4px; width: 12px; height: 12px; margin-left: -6px; border-radius: 50%;
  background: var(--series0); border: 2px solid var(--card); }
.strip .tick { top: 2px; width: 3px; height: 16px; margin-left: -1.5px; border-radius: 1px;
  background: var(--series1); }
.strip .blind, .strip .text { top: 5px; width: 10px; height: 10px; margin-left: -5px;
  border: 2px solid var(--soft); background: var(--card); }
.strip .blind { border-radius: 50%; }
.strip .text { transform: rotate(45deg) scale(.85); }
.key { display: inline-block; vertical-align: middle; width: 26px; margin-right: 6px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; padding: 0;
  margin: 10px 0 0; font-size: 13px; color: var(--soft); }
.legend li { display: flex; align-items: center; }
.legend .strip { width: 26px; margin-right: 6px; }
.legend .strip::before { display: none; }
.legend svg.key { width: 30px; height: 10px; }
svg.radar { display: block; width: 100%; max-width: 680px; height: auto; margin: 0 auto; }
svg .grid { fill: none; stroke: var(--line); }
svg.radar text { font-size: 15px; }
svg .axis { fill: var(--ink); font-weight: 600; }
svg .value { fill: var(--series0); font-weight: 600; }
svg .rim { fill: var(--soft); font-weight: 400; font-size: 80%; }
svg .line { fill: none; stroke: var(--shade); stroke-width: 2; stroke-linecap: round; }
svg .line.series0 { stroke-width: 3; }
svg .line.series2 { stroke-dasharray: 7 5; }
svg .line.series3 { stroke-dasharray: 1 5; }
svg .line.series4 { stroke-dasharray: 9 4 1 4; }
svg .mark { fill: var(--shade); stroke: var(--card); stroke-width: 1.5; }
svg .band { fill: var(--shade); opacity: .22; stroke: none; }
.series0 { --shade: var(--series0); } .series1 { --shade: var(--series1); }
.series2 { --shade: var(--series2); } .series3 { --shade: var(--series3); }
.series4 { --shade: var(--series4); }
ul.notes { margin: 0; padding-left: 18px; font-size: 14px; }
ul.notes li { margin: 3px 0; overflow-wrap: anywhere; }
.chips { display: flex; flex-wrap: wrap; gap: 8px; margin: 0 0 20px; padding: 0; }
.chips a { background: var(--card); border: 1px solid var(--line); border-radius: 14px;
  padding: 3px 12px; font-size: 14px; text-decoration: none; overflow-wrap: anywhere; }
.chips b { font-weight: 600; }
.chips a:hover { border-color: var(--series0); }
.tag { display: inline-block; border: 1px solid var(--partly); color: var(--partly);
  border-radius: 10px; padding: 0 8px; font-size: 12px; font-weight: 600; }
.benchmark { margin: 40px 0 0; scroll-margin-top: 12px; }
.lead { margin: 2px 0 14px; color: var(--soft); }
.sublist { margin: 0 0 14px; }
.sublist:last-child { margin: 0; }
.panel.subs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr));
  gap: 6px 36px; align-items: start; }
.panel.subs .scroll, .panel.subs h2 { grid-column: 1 / -1; }
.panel.subs h2 { margin: 0 0 4px; }
.bars { display: grid; grid-template-columns: minmax(90px, max-content) 1fr max-content;
  gap: 4px 12px; align-items: center; font-size: 14px; }
.bars .name { overflow-wrap: anywhere; max-width: 210px; }
.bars .count { text-align: right; font-variant-numeric: tabular-nums; }
.track { display: block; height: 7px; border-radius: 3px; background: var(--track); }
.fill { display: block; height: 100%; border-radius: 3px; background: var(--series0); }
.matrix td { min-width: 92px; }
.matrix .track { height: 4px; margin-top: 3px; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 270px), 1fr));
  gap: 14px; }
.card { display: flex; flex-direction: column; overflow: hidden; min-width: 0;
  border-top: 3px solid var(--partly); }
.card.right { border-top-color: var(--good); } .card.wrong { border-top-color: var(--bad); }
.verdict { color: var(--partly); } .right .verdict { color: var(--good); }
.wrong .verdict { color: var(--bad); }
.picture { display: flex; justify-content: center; padding: 10px 10px 0; }
.picture img { display: block; max-width: 100%; height: 190px; object-fit: contain; }
.picture img.small { image-rendering: pixelated; }
.none { padding: 14px; text-align: center; color: var(--soft); font-size: 13px;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; max-height: 150px;
  overflow: auto; }
.none.bad { color: var(--bad); }
.about { padding: 10px 14px 0; font-size: 12px; color: var(--soft); overflow-wrap: anywhere; }
.about b { font-size: 13px; margin-right: 4px; }
.prompt { margin: 4px 14px 8px; max-height: 150px; overflow: auto; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: 14px; unicode-bidi: isolate; }
.card dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 3px 12px;
  margin: 0 14px 12px; padding-top: 8px; border-top: 1px solid var(--line); font-size: 13px; }
.card dt { color: var(--soft); max-width: 90px; }
.card dd { margin: 0; max-height: 130px; overflow: auto; }
.said { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate;
  font: 13px/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, "Noto Sans Mono CJK SC", monospace; }
.strip .middle { top: 1px; width: 1px; height: 18px; background: var(--soft); }
.better { color: var(--good); font-weight: 600; } .worse { color: var(--bad); font-weight: 600; }
@media (max-width: 900px) { .two { grid-template-columns: minmax(0, 1fr); } }
@media (max-width: 640px) {
  body { padding: 16px; }
  svg.radar text { font-size: 19px; }
  table.wide thead { display: none; }
  table.wide, table.wide tbody { display: block; }
  table.wide tr { display: grid; grid-template-columns: 2fr 3fr; gap: 2px 14px; padding: 10px 0;
    border-top: 1px solid var(--line); }
  table.wide tr:first-child { border-top: 0; }
  table.wide th, table.wide td { border: 0; padding: 0; text-align: left; white-space: normal;
    overflow-wrap: anywhere; min-width: 0; width: auto; }
  table.wide th, table.wide td.stripcell { grid-column: 1 / -1; }
  table.wide td[data-name]::before { content: attr(data-name) " "; color: var(--soft);
    font-size: 12px; font-weight: 400; } }
@media print { body { max-width: none; } .card, .panel { break-inside: avoid; } }
"""


def html_page(title: str, body: str) -> str:
    """Return the whole page."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""
