"""What the studio's page is decorated with: a paper landscape above it and small cut-outs, drawn as SVG."""

from __future__ import annotations

from ui.words import of

# A page has one of each filter; all cut-outs refer to it.
BANNER = """
<header class="banner">
<svg viewBox="0 0 1200 170" preserveAspectRatio="xMidYMax slice" aria-hidden="true">
  <defs>
    <filter id="lift" x="-20%" y="-30%" width="140%" height="170%">
      <feDropShadow dx="0" dy="2.5" stdDeviation="3" flood-color="#3a2c18" flood-opacity="0.28"/>
    </filter>
  </defs>
  <rect class="sky" width="1200" height="170"/>
  <g class="night" filter="url(#lift)">
    <circle class="star" cx="64" cy="20" r="2"/><circle class="star" cx="300" cy="62" r="1.8"/>
    <circle class="star" cx="520" cy="24" r="2.2"/><circle class="star" cx="660" cy="52" r="1.6"/>
    <circle class="star" cx="780" cy="30" r="2.4"/><circle class="star" cx="1090" cy="26" r="2"/>
    <circle class="star" cx="1150" cy="70" r="1.6"/><circle class="star" cx="418" cy="40" r="1.5"/>
  </g>
  <circle class="sun" cx="930" cy="62" r="34" filter="url(#lift)"/>
  <path class="cloud" filter="url(#lift)"
    d="M690 78c2-13 21-17 28-6 6-13 28-9 28 4 11-2 17 11 8 17h-60c-11 0-13-14-4-15z"/>
  <path class="cloud" filter="url(#lift)"
    d="M1040 60c1-10 16-13 22-4 5-10 22-7 22 3 9-2 13 9 6 13h-47c-8 0-10-11-3-12z"/>
  <path class="hill-3" filter="url(#lift)" d="M0 118C160 72 300 96 450 112S760 66 930 92s200 4 270 14v64H0z"/>
  <path class="hill-2" filter="url(#lift)" d="M0 140c140-22 250 12 400 2s250-44 420-24 260 30 380 4v48H0z"/>
  <g filter="url(#lift)" class="wood">
    <path class="trunk" d="M1009 112h6v26h-6z"/><path class="leaf" d="M1012 66l21 50h-42z"/>
    <path class="trunk" d="M1053 118h5v24h-5z"/><path class="leaf-2" d="M1055.5 82l16 40h-32z"/>
    <path class="trunk" d="M612 130h4v16h-4z"/><circle class="blossom" cx="614" cy="118" r="15"/>
  </g>
  <path class="hill-1" filter="url(#lift)" d="M0 152c180-14 340 18 560 4s420-20 640 0v20H0z"/>
</svg>
<div class="title"><h1>Diorama</h1><p>{motto}</p></div>
<button class="lamp" type="button" data-lamp aria-label="{switch}" title="{lamp}">
  <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M14.5 3a9 9 0 1 0 6.5 14A8 8 0 0 1 14.5 3z"/></svg>
</button>
</header>
"""


def banner() -> str:
    """The landscape above the page."""
    said = {name: of("banner", name) for name in ("motto", "switch", "lamp")}
    return BANNER.format(**said)


# Keeps the choice between visits. Gradio itself follows the system.
LAMP = """
const root = document.querySelector('.gradio-container')?.closest('body') || document.body;
let kept = null;
try { kept = localStorage.getItem('diorama-light'); } catch (error) { /* private windows may refuse */ }
if (kept) root.classList.toggle('dark', kept === 'dark');
element.addEventListener('click', (event) => {
  if (!event.target.closest('[data-lamp]')) return;
  const dark = root.classList.toggle('dark');
  try { localStorage.setItem('diorama-light', dark ? 'dark' : 'light'); } catch (error) { /* as above */ }
});
"""

# The empty easel: three shapes of the world that the embedded model knows.
EASEL = """
<svg class="easel" viewBox="0 0 220 150" aria-hidden="true">
  <circle fill="#d63031" cx="72" cy="82" r="37" filter="url(#lift)"/>
  <path fill="#f6cf3e" filter="url(#lift)"
    d="M143 20l12.3 27.2 29.7 3.2-22.2 19.9 6.3 29.200L143 84.500l-26.1 15 6.3-29.200L101 50.400l29.7-3.200z"/>
  <path fill="#305ccc" filter="url(#lift)"
    d="M134 131c-18-13-29-22-29-34 0-9 7-15 14-15 6 0 12 4 15 10 3-6 9-10 15-10 7 0 14 6 14 15 0 12-11 21-29 34z"/>
</svg>
"""

ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 64 64'%3E"
    "%3Crect width='64' height='64' rx='14' fill='%23f3ecdf'/%3E%3Ccircle cx='25' cy='36' r='17' fill='%23d63031'/%3E"
    "%3Cpath d='M44 10l4.3 9.6 10.5 1.1-7.9 7 2.3 10.3-9.2-5.3-9.2 5.3 2.3-10.3-7.9-7 10.5-1.100z' "
    "fill='%23f6cf3e'/%3E%3Cpath d='M0 50c16-7 40 5 64-2v2a14 14 0 0 1-14 14H14A14 14 0 0 1 0 50z' fill='%233a9d54'/%3E"
    "%3C/svg%3E"
)
HEAD = f'<link rel="icon" href="{ICON}"><meta name="color-scheme" content="light dark">'
