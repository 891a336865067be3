"""The page that asks for the password: plain HTML, for nothing of the studio is served before."""

from __future__ import annotations

from html import escape

from ui.scenery import ICON
from ui.words import language, say

PAGE = """<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><title>Diorama</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="{icon}">
<style>
  body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: #f3ecdf; color: #2c2723;
    font: 16px/1.5 Seravek, "Gill Sans Nova", Ubuntu, Calibri, "Segoe UI", "Liberation Sans", sans-serif; }}
  form {{ box-sizing: border-box; width: min(380px, 92vw); padding: 34px 36px 30px;
    border-radius: 18px; background: #fffdf8;
    box-shadow: 0 1px 2px rgba(84, 60, 30, .12), 0 18px 40px -18px rgba(84, 60, 30, .4); }}
  h1 {{ margin: 0 0 18px; font: 600 30px/1.1 "Iowan Old Style", Palatino, Georgia, "Liberation Serif", serif; }}
  label {{ display: block; margin-bottom: 6px; font-weight: 600; }}
  input {{ box-sizing: border-box; width: 100%; padding: 10px 12px; font: inherit; color: inherit;
    border: 1px solid #dccfba; border-radius: 10px; background: #fffefb; }}
  button {{ width: 100%; margin-top: 16px; padding: 11px; font: inherit; font-weight: 600; color: #fffaf2; border: 0;
    border-radius: 14px; background: #d63031; cursor: pointer; }}
  p {{ margin: 12px 0 0; color: #9f2225; }}
  @media (prefers-color-scheme: dark) {{
    body {{ background: #1d1b29; color: #efe9dd; }} form {{ background: #282536; }}
    input {{ background: #211e2d; border-color: #454059; }} p {{ color: #f6a9a4; }}
  }}
</style></head>
<body><form method="post" action="login">
<h1>Diorama</h1>
<label for="password">{password}</label>
<input id="password" name="password" type="password" autocomplete="current-password" required autofocus>
<button>{enter}</button>{problem}
</form></body></html>
"""


def form(problem: str = "") -> str:
    """The page, with `problem` under the button when there is one."""
    return PAGE.format(
        icon=ICON,
        language=language(),
        password=say("login.password"),
        enter=say("login.enter"),
        problem=f'<p role="alert">{escape(problem)}</p>' if problem else "",
    )
