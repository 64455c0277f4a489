"""One page; gunicorn serves `app`."""

import os

from flask import Flask

app = Flask(__name__)


@app.get("/")
def page() -> str:
    return f"hello from user {os.getuid()}\n"
