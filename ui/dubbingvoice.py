"""A place for a voice: a file that is dropped or chosen, or a recording made right there; and to listen to it.

A recording goes the way of a file: to the studio's own route, whole, when it is over.
"""

from __future__ import annotations

from html import escape

from pipelines.files.audio import MAX_SECONDS
from ui import drop
from ui.uploads import Upload
from ui.words import for_script, numerals, say

SOUNDS = "audio/*,video/mp4,video/quicktime,video/webm,.flac,.mkv"

# Goes on from the script of the place, which sends files.
RECORD = """
{
  const words = WORDS;
  let recorder = null, begun = 0, clock = null;
  const button = () => element.querySelector('[data-record]');
  const show = () => {
    const told = button(), on = recorder !== null;
    if (!told) return;
    told.setAttribute('aria-pressed', on);
    told.textContent = on ? words.stop.replace('{seconds}', Math.floor((Date.now() - begun) / 1000)) : words.record;
  };
  const stop = () => { if (recorder?.state === 'recording') recorder.stop(); };
  const start = async () => {
    if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) return say(words.unable, true);
    let stream = null;
    try { stream = await navigator.mediaDevices.getUserMedia({audio: true}); }
    catch (error) { return say(words.refused, true); }
    const heard = [];
    recorder = new MediaRecorder(stream);
    recorder.addEventListener('dataavailable', (event) => heard.push(event.data));
    recorder.addEventListener('stop', () => {
      stream.getTracks().forEach((track) => track.stop());
      clearInterval(clock); recorder = null; show();
      send(new Blob(heard));
    });
    recorder.start(1000); begun = Date.now(); show();
    clock = setInterval(() => {
      if (!element.isConnected || Date.now() - begun > MOST_SECONDS * 1000) stop(); else show();
    }, 500);
  };
  element.addEventListener('click', (event) => {
    if (event.target.closest('[data-record]')) { if (recorder) stop(); else start(); }
  });
}
"""

CSS = """
.voice-place { display: flex; flex-direction: column; gap: 10px; }
.voice-place .hear { display: flex; flex-wrap: wrap; align-items: center; gap: 10px; }
.voice-place .hear button {
  margin: 0; padding: 8px 14px; border: 0; border-radius: 10px; font: inherit; font-size: 14.5px; cursor: pointer;
  background: var(--button-secondary-background-fill); color: var(--button-secondary-text-color);
}
.voice-place .hear button[aria-pressed="true"] { background: var(--bad-ink); color: #fffaf2; }
.voice-place audio { flex: 1 1 220px; min-width: 0; height: 38px; }
"""


def script() -> str:
    """What the place does in the browser."""
    return drop.script() + for_script(RECORD, "record_script").replace("MOST_SECONDS", str(MAX_SECONDS))


def place(upload: Upload | None) -> str:
    """The place, empty or with a voice."""
    label, hint = say("field.audio"), say("dubbing.audio_hint")
    field = f'<input type="file" accept="{SOUNDS}" aria-label="{escape(label, quote=True)}">'
    told, away, hear = hint, "", ""
    if upload is not None:
        told = say("dubbing.voice", seconds=numerals(f"{upload.seconds:.1f}"))
        words = say("drop.away")
        away = (
            f'<button type="button" class="drop-away" data-away title="{words}" aria-label="{words}">&times;</button>'
        )
        hear = (
            f'<audio controls preload="metadata" src="uploads/{upload.id}/voice" '
            f'aria-label="{escape(told, quote=True)}"></audio>'
        )
    return (
        f'<div class="voice-place"><label class="drop-here" data-to="uploads/voice" '
        f'data-upload="{upload.id if upload else ""}">{field}<span><b>{escape(label)}</b>'
        f"<i data-told>{escape(told)}</i></span>{away}</label>"
        '<div class="hear"><button type="button" data-record aria-pressed="false">'
        f"{say('record_script.record')}</button>{hear}</div></div>"
    )
