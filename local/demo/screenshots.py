"""``make screenshots``: take the README's screenshots of the demo and of the API documents from a real run.

The demo uses generated pictures, so that no photo of third parties is committed. It runs on a separate stack with free
ports, which is stopped at the end.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from functions.inference_endpoint.training import procedural

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SEEDS = (9004, 9009, 9011, 9013, 9018, 9020, 9024, 9026, 9030, 9035, 9037, 9039)
"""Seeds of pictures that differ enough for every copy to find its original first."""
SIX_ROWS = "section { display: none } section:nth-of-type(7n + 1):nth-of-type(-n + 36) { display: grid }"
"""Style that shows six rows, each with another picture and another change."""
PORTS = ("API", "INFERENCE", "KAFKA", "POSTGRES", "AWS", "QDRANT")


def main() -> None:
    with TemporaryDirectory() as folder:
        pictures, state = Path(folder, "pictures"), Path(folder, "state")
        make_pictures(pictures)
        port = free_port()
        environment = os.environ | {f"DEEPLENS_{service}_PORT": "0" for service in PORTS}
        environment |= {"DEEPLENS_IDENTITY_PORT": str(port), "DEEPLENS_STATE_DIR": str(state)}
        deeplens = Path(sys.executable).with_name("deeplens")
        try:
            subprocess.run([deeplens, "demo", "--photos", pictures], env=environment, check=True)
            take_screenshots(state / "demo" / "index.html", f"http://localhost:{port}/swagger")
        finally:
            subprocess.run([deeplens, "down"], env=environment, check=False)


def make_pictures(folder: Path, seeds: Sequence[int] = SEEDS) -> None:
    folder.mkdir(parents=True)
    for number, seed in enumerate(seeds, 1):
        procedural.image(seed).resize((512, 512), Image.Resampling.LANCZOS).save(folder / f"picture-{number:02}.png")


def take_screenshots(sheet: Path, api_docs: str) -> None:
    browser_path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if browser_path is None:
        raise SystemExit("Chromium is missing: install your system's package and run `make screenshots` again.")
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--no-proxy-server"])
        page = browser.new_page(viewport={"width": 960, "height": 800}, color_scheme="light")
        page.goto(sheet.as_uri())
        page.add_style_tag(content=SIX_ROWS)
        save(page, "contact-sheet.webp", whole_page=True)
        page.goto(api_docs)
        page.locator(".opblock").first.wait_for()
        save(page, "api-docs.webp", whole_page=False)
        browser.close()


def save(page: Page, name: str, *, whole_page: bool) -> None:
    with Image.open(BytesIO(page.screenshot(full_page=whole_page))) as picture:
        picture.convert("RGB").save(FOLDER / name, "WEBP", quality=80, method=6)
    print(FOLDER / name)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()
