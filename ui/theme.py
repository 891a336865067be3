"""The studio's colours and letters, as a gradio theme. What they are put on is in `css.py`.

Fonts are what the reader's system has: the page fetches nothing from anywhere.
"""

from __future__ import annotations

import gradio as gr
from gradio.themes.utils.colors import Color
from gradio.themes.utils.sizes import radius_lg, spacing_md, text_md

# Paper from sheet white to the ink on it, and the Papercut red that buttons are cut from.
PAPER = Color(
    "#fffdf8", "#faf5ec", "#f1e9dc", "#e4d9c7", "#cbbda8", "#a39683", "#7a6f61", "#594f45", "#3f3832", "#2c2723",
    "#1d1a18", name="paper",
)  # fmt: skip
RED = Color(
    "#fdf1ef", "#fbe0dd", "#f6c1bc", "#ee9a94", "#e36a66", "#d63031", "#c0282b", "#9f2225", "#7f1e21", "#661c1e",
    "#3a0e10", name="cut red",
)  # fmt: skip
BLUE = Color(
    "#eff3fc", "#dbe4f8", "#b9cbf2", "#8eaae8", "#5f83da", "#305ccc", "#284db0", "#233f8d", "#20366f", "#1e2f5c",
    "#131c38", name="cut blue",
)  # fmt: skip

SERIF = (
    "Iowan Old Style, Palatino Linotype, Palatino, URW Palladio L, P052, Book Antiqua, Georgia, Liberation Serif, serif"
)
SANS = ("Seravek", "Gill Sans Nova", "Ubuntu", "Calibri", "Segoe UI", "Liberation Sans", "system-ui", "sans-serif")
MONO = ("ui-monospace", "Cascadia Code", "Source Code Pro", "Menlo", "Liberation Mono", "monospace")


class Paper(gr.themes.Base):
    """Warm paper by day, an indigo night sky by night."""

    def __init__(self) -> None:
        super().__init__(
            primary_hue=RED,
            secondary_hue=BLUE,
            neutral_hue=PAPER,
            radius_size=radius_lg,
            spacing_size=spacing_md,
            text_size=text_md,
            font=SANS,
            font_mono=MONO,
        )
        self.name = "paper"
        self.set(
            body_background_fill="#f3ecdf",
            body_background_fill_dark="#1d1b29",
            body_text_color="#2c2723",
            body_text_color_dark="#efe9dd",
            body_text_color_subdued="#6f6457",
            body_text_color_subdued_dark="#aaa3b4",
            background_fill_primary="#fffdf8",
            background_fill_primary_dark="#282536",
            background_fill_secondary="#f8f2e7",
            background_fill_secondary_dark="#232031",
            border_color_primary="#e6dccb",
            border_color_primary_dark="#3b374c",
            border_color_accent="#cbbda8",
            border_color_accent_dark="#544f6b",
            block_background_fill="transparent",
            block_background_fill_dark="transparent",
            block_border_width="0px",
            block_border_width_dark="0px",
            block_shadow="none",
            block_shadow_dark="none",
            block_padding="0px",
            block_label_background_fill="transparent",
            block_label_background_fill_dark="transparent",
            block_label_border_width="0px",
            block_label_border_width_dark="0px",
            block_label_text_color="#6f6457",
            block_label_text_color_dark="#aaa3b4",
            block_title_text_color="#594f45",
            block_title_text_color_dark="#c9c2d2",
            block_title_text_weight="600",
            block_info_text_color="#6f6457",
            block_info_text_color_dark="#aaa3b4",
            panel_background_fill="transparent",
            panel_background_fill_dark="transparent",
            panel_border_width="0px",
            panel_border_width_dark="0px",
            input_background_fill="#fffefb",
            input_background_fill_dark="#211e2d",
            input_background_fill_focus="#ffffff",
            input_background_fill_focus_dark="#1d1b29",
            input_border_color="#dccfba",
            input_border_color_dark="#454059",
            input_border_color_focus="#305ccc",
            input_border_color_focus_dark="#8eaae8",
            input_border_width="1px",
            input_placeholder_color="#9c907f",
            input_placeholder_color_dark="#837c90",
            input_shadow="inset 0 1px 2px rgba(92, 66, 32, 0.07)",
            input_shadow_dark="inset 0 1px 2px rgba(0, 0, 0, 0.3)",
            input_shadow_focus="0 0 0 3px rgba(48, 92, 204, 0.16)",
            input_shadow_focus_dark="0 0 0 3px rgba(142, 170, 232, 0.2)",
            slider_color="#d63031",
            slider_color_dark="#e36a66",
            button_large_radius="14px",
            button_small_radius="10px",
            button_large_text_weight="600",
            button_border_width="0px",
            button_border_width_dark="0px",
            button_primary_background_fill="#d63031",
            button_primary_background_fill_hover="#c0282b",
            button_primary_background_fill_dark="#d63a3b",
            button_primary_background_fill_hover_dark="#e04b4b",
            button_primary_text_color="#fffaf2",
            button_primary_text_color_dark="#fffaf2",
            button_primary_shadow="0 1px 0 rgba(255, 255, 255, 0.25) inset, 0 5px 12px -4px rgba(150, 40, 34, 0.5)",
            button_primary_shadow_dark="0 1px 0 rgba(255, 255, 255, 0.12) inset, 0 5px 14px -4px rgba(0, 0, 0, 0.6)",
            button_secondary_background_fill="#f1e7d6",
            button_secondary_background_fill_hover="#eadcc5",
            button_secondary_background_fill_dark="#353147",
            button_secondary_background_fill_hover_dark="#403b55",
            button_secondary_text_color="#3f3832",
            button_secondary_text_color_dark="#efe9dd",
            checkbox_label_background_fill="transparent",
            checkbox_label_background_fill_dark="transparent",
            link_text_color="#284db0",
            link_text_color_dark="#9db7f0",
            link_text_color_hover="#1e2f5c",
            link_text_color_hover_dark="#c7d6f8",
            link_text_color_visited="#284db0",
            link_text_color_visited_dark="#9db7f0",
            color_accent="#d63031",
            color_accent_soft="#fbe0dd",
            color_accent_soft_dark="#43283a",
        )
