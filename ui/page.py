"""The studio's page: banner, tabs, and what gradio is told when it serves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gradio as gr
from gradio.context import Context

from pipelines.queue.queue import Queue
from ui import (
    boxes,
    canvas,
    chosen,
    comparison,
    css,
    drop,
    dubbingface,
    dubbingfiles,
    dubbingresult,
    dubbingvoice,
    easel,
    expansion,
    grid,
    gridfiles,
    gridtable,
    history,
    keys,
    levels,
    losscurve,
    models,
    overlay,
    plan,
    presets,
    prints,
    queue,
    queuelist,
    remarks,
    restored,
    result,
    stack,
    strip,
    table,
    train,
    traincaptions,
    trainfiles,
    trainreport,
    trainview,
    watch,
)
from ui.api.beside import beside
from ui.api.tokens import Tokens
from ui.calls import Calls
from ui.courtesy import Courtesy
from ui.desk import FIRST, Desk
from ui.doors import Doors
from ui.dubbing import dubbing_tab
from ui.fields import Form
from ui.files import routes
from ui.guard import Guard
from ui.layered import layered_tab
from ui.layout import layout_tab
from ui.masked import masked_tab
from ui.pace import Pace
from ui.scenery import HEAD, LAMP, banner
from ui.scenes import scenes_tab
from ui.shown import Shown
from ui.spoken import Spoken
from ui.studio import Check, Studio
from ui.text import text_tab
from ui.theme import Paper
from ui.uploads import Uploads
from ui.video import video_tab
from ui.watch import ID, Place
from ui.words import LANGUAGES, STANDARD, language, of, speaking

TITLE = "Diorama"
TABS: Mapping[str, Callable[[Studio, Sequence[Any]], Desk]] = {
    "text": text_tab, "video": video_tab, "masked": masked_tab, "scenes": scenes_tab, "layout": layout_tab,
    "layered": layered_tab, "dubbing": dubbing_tab,
}  # fmt: skip

STYLED = (
    css, plan, queuelist, result, overlay, stack, drop, canvas, strip, table, boxes, prints, chosen, remarks,
    comparison, restored, history, models, levels, keys, presets, expansion, grid, gridtable,
    dubbingface, dubbingresult, dubbingvoice, losscurve, traincaptions, trainreport, trainview,
)  # fmt: skip

# Pages that gradio keeps in mind, each with a copy of its fields, about a megabyte. A page that only looks needs none,
# and one whose place another took gets a new one with its next press: what it works with is in the browser.
SESSIONS = 100
LAID_OUT = ("components", "dependencies", "layout", "page")  # what a layout has of its own in gradio's description

# A browser may refuse to keep anything, as in private windows.
DRAFT = """(...v) => {
  const keep = () => localStorage.setItem('KEY', JSON.stringify(v));
  const kept = () => JSON.parse(localStorage.getItem('KEY'));
  try { return WHAT; } catch (error) { return v; }
}"""


def build(
    jobs: Queue,
    folder: Path,
    check: Check,
    health: Callable[[], str] = str,
    *,
    roots: Sequence[Path] = (),
    by_path: bool = False,
) -> Page:
    """The page over a queue and the output folder.

    Args:
        jobs: the queue, where jobs are written and states read.
        folder: the output folder.
        check: gives a job's cost; raises Refusal for a job that the engine would refuse.
        health: a sentence while no renderer is at work, else "".
        roots: folders of models beside those that are added on the page.
        by_path: whether the page may add folders of this machine.
    """
    studio = Studio(jobs, folder, check, health, Uploads(folder), Pace(jobs, folder), roots, by_path)
    studio.uploads.sweep(jobs)
    page = Page.of(partial(_laid_out, studio))
    page.studio = studio
    return page


class Page(gr.Blocks):
    """A page that is laid out once in each language. Who asks for it gets the one that they read.

    Listeners are those of the first layout, for all of them are alike; what they answer is said as `words.say` does it.

    Attributes:
        studio: what it works with.
        lay: fills a page.
        translations: by language, what of the page's description is another one there.
    """

    studio: Studio
    lay: Callable[[gr.Blocks], None]
    translations: Mapping[str, Mapping[str, Any]] = MappingProxyType({})

    @classmethod
    def of(cls, lay: Callable[[gr.Blocks], None]) -> Page:
        """The page that `lay` fills, in the language that is spoken."""
        page = cls(title=TITLE, analytics_enabled=False, fill_width=True)
        page.lay = lay
        with page:
            lay(page)
        return page

    def translate(self) -> None:
        """Lay the page out in the other languages as well, under the same numbers."""
        found: dict[str, Mapping[str, Any]] = {}
        last = Context.id
        for code in LANGUAGES:
            if code != STANDARD:
                Context.id = self._id
                with speaking(code):
                    other = Page.of(self.lay)
                found[code] = {name: other._config[name] for name in LAID_OUT}
                last = max(last, Context.id)
        Context.id = last
        self.translations = found

    @property
    def config(self) -> Any:
        """What gradio tells a browser about the page, in the language that is spoken."""
        return {**self._config, **self.translations.get(language(), {})}

    @config.setter
    def config(self, value: Any) -> None:
        self._config = value


def _laid_out(studio: Studio, page: gr.Blocks) -> None:
    """Lay everything out on `page`, in the language that is spoken."""
    gr.HTML(banner(), js_on_load=LAMP, apply_default_css=False)
    gr.HTML(levels.switch(), js_on_load=levels.SCRIPT, elem_id="tools", apply_default_css=False)
    gr.HTML(keys.sheet(), js_on_load=keys.script(), elem_id="keys", apply_default_css=False)
    back = restored.bar()
    with gr.Tabs(elem_classes="tabs") as tabs:
        desks = []
        for kind, lay in TABS.items():
            with gr.Tab(of("tab", kind), id=kind) as tab:
                desks.append(lay(studio, [tab.select, *([page.load] if kind == FIRST else [])]))
        with gr.Tab(of("tab", "grid"), id="grid") as tab:
            grids = grid.GridTab(studio, desks, tabs, [tab.select])
        with gr.Tab(of("tab", "queue"), id="queue"):
            queue.queue_tab(studio, desks, tabs)
        with gr.Tab(of("tab", "history"), id="history") as tab:
            history.history_tab(studio, desks, tabs, tab, back)
        with gr.Tab(of("tab", "models"), id="models"):
            models.models_tab(studio)
        with gr.Tab(of("tab", "train"), id="train") as tab:
            training = train.train_tab(studio, desks, tabs, [tab.select])
    for form in (*(desk.form for desk in desks), grids.form, training.form):
        _draft(page, form)


def _draft(page: gr.Blocks, form: Form) -> None:
    """Keep what stands in some fields in the browser, and put it back when the page is loaded again."""
    parts = [form.part(name) for name in form.kept]
    if parts:
        there = DRAFT.replace("KEY", f"diorama-{form.kind}")
        more: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        page.load(None, parts, parts, js=there.replace("WHAT", "kept()?.length === v.length ? kept() : v"), **more)
        gr.on([part.change for part in parts], None, parts, None, js=there.replace("WHAT", "keep()"), **more)


def places(studio: Studio) -> Mapping[str, Place]:
    """What an open page asks for, by its address behind /watch/."""

    def easel_of(tab: str) -> Place:
        return Place(
            lambda follows: easel.drawn(
                studio.queue, studio.folder, studio.health, tab, follows, training=studio.training()
            ),
            {"follows": ID},
        )

    return {
        **{tab: easel_of(tab) for tab in TABS},
        queue.ADDRESS: Place(lambda: queue.shown(studio)),
        "grid": Place(lambda id: grid.shown(studio, id), {"id": ID}),
        history.WALL_AT: Place(lambda: history.known(studio), slow=True),
        "verdict": Place(lambda id: Shown(chosen.verdict(studio, id)), {"id": ID}),
        "models": Place(lambda at: models.shown(studio, at), {"at": models.AT}, slow=True),
        "train": Place(lambda run: train.shown(studio, run), {"run": ID}, slow=True),
        "captions": Place(lambda: traincaptions.shown(studio), slow=True),
        "preflight": Place(lambda check: train.checked(studio, check), {"check": ID}, slow=True),
    }


def options(studio: Studio, guard: dict[str, Any], webhooks: Sequence[str] = (), mcp: bool = False) -> dict[str, Any]:
    """Arguments for `Blocks.launch`.

    Args:
        studio: what the page works with.
        guard: arguments of `ui.guard.Guard`.
        webhooks: addresses that the owner allows.
        mcp: whether models may use the studio as a tool.

    Raises:
        Refusal: an address that is none, or MCP without its package.
    """
    from starlette.middleware import Middleware

    folder = studio.folder
    given, programs = Uploads(folder), beside(studio, webhooks, mcp)
    own = [
        # What is asked for most comes first.
        *watch.routes(places(studio)), *routes(studio.queue, folder), *given.routes(), *dubbingfiles.routes(given),
        *gridfiles.routes(studio.queue, folder), *trainfiles.routes(studio.runs, studio.by_path),
        *programs.routes,
    ]  # fmt: skip
    return {
        "theme": Paper(),
        "css": "".join(part.CSS for part in STYLED),
        "head": HEAD,
        "app_kwargs": {
            "routes": own,
            "middleware": [
                Middleware(Courtesy),
                Middleware(Spoken),
                Middleware(Guard, **guard, tokens=Tokens(folder)),
                Middleware(Doors, own=own),
                Middleware(Calls),
            ],
            "openapi_url": None,
            "lifespan": programs.lifespan,
        },
        "footer_links": [],
        "quiet": True,
        "show_error": False,
        "strict_cors": True,
        "enable_monitoring": False,
        "run_history": False,
        "mcp_server": False,  # it would make tools of all listeners; `ui/api/toolbox.py` has its own few
        "ssr_mode": False,
        "pwa": False,
        # Files come and go by routes of our own, so gradio's get nothing to do.
        "max_file_size": 2**20,
        "allowed_paths": [],
        "blocked_paths": [str(folder.resolve())],
        "state_session_capacity": SESSIONS,
    }
