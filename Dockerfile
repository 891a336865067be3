# The studio in a container, on a CPU. Inside a container 127.0.0.1 can not be reached from outside, so the studio
# listens on 0.0.0.0 there, which it refuses to do without a password:
#   docker build -t diorama .
#   docker run --rm -p 127.0.0.1:7860:7860 -e DIORAMA_PASSWORD=... -v diorama-out:/home/diorama/app/out diorama
# Or mount a file and say so: ... diorama python app.py --host 0.0.0.0 --password-file /run/secrets/password
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 HF_HUB_OFFLINE=1 GRADIO_ANALYTICS_ENABLED=False
RUN useradd --create-home --uid 10001 diorama
WORKDIR /home/diorama/app

COPY . .
RUN pip install --extra-index-url https://download.pytorch.org/whl/cpu -e . \
    && mkdir -p out && chown diorama:diorama out

USER diorama
VOLUME /home/diorama/app/out
EXPOSE 7860
# The page asks for the password (401); that it answers is what makes it healthy.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 7860, timeout=4); c.request('GET', '/'); raise SystemExit(c.getresponse().status >= 500)"]

CMD ["python", "app.py", "--host", "0.0.0.0", "--port", "7860"]
