"""The page of a bulk run: what is read from a manifest, and what Chromium makes of it."""

import asyncio
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import browser
import pytest
from browser import Page, tab

import kling_async
from kling_async.cli.page import embed, link, read_manifest, write_page
from kling_async.emulator.pictures import png
from kling_async.emulator.sounds import mp3

NOW = 1_795_280_000.0
MEDIA = Path(kling_async.__file__).parent / "emulator" / "media"
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=hacked=1>&<!-- \u2028\u2029 {{DATA}} ${hacked=1}"


def line(row: int, **more: Any) -> dict[str, Any]:
    """A line of a manifest: a clip that was made, and what differs."""
    known: dict[str, Any] = {
        "row": row,
        "id": f"bulk-3f2a-{row}",
        "endpoint": "text2video",
        "model": "kling-v2-6",
        "request": {"prompt": f"Clip {row} of the sea", "duration": "5"},
        "input": {"prompt": f"Clip {row} of the sea"},
        "task_id": f"88{row}",
        "request_id": f"r{row}",
        "status": "succeeded",
        "error": None,
        "paid": "yes",
        "assets": [{"kind": "video", "id": "v", "duration_s": 5.1, "url_host": "cdn.example", "expires_at": None}],
        "files": [{"path": "a clip.mp4", "kind": "video", "bytes": 3187, "sha256": "x"}],
        "billing": [{"amount": 2.0, "unit": "units"}],
        "estimate": {"units": 2.0, "price": 0.28, "currency": "USD"},
        "times": {
            "created_at": NOW - 900 + row,
            "sent_at": NOW - 890 + row,
            "accepted_at": NOW - 889 + row,
            "ended_at": NOW - 800 + row * 2,
            "saved_at": NOW - 799 + row * 2,
        },
    }
    return known | more


def bad(row: int, status: str, kind: str, message: str, **more: Any) -> dict[str, Any]:
    error = {"type": kind, "message": message, "code": more.pop("code", None), "retryable": False}
    return line(row, **{"status": status, "error": error, "paid": "no", "files": [], "billing": []} | more)


def written(folder: Path, *lines: object, is_over: bool = True, end: str = "\n", total: int | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    text = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines)
    (folder / "manifest.jsonl").write_text(text + end, encoding="utf-8")
    return write_page(folder, is_over=is_over, now=NOW, total=total)


class Scripts(HTMLParser):
    """The scripts of a page as a browser finds them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._is_inside = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._is_inside = tag == "script"
        if self._is_inside:
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        self._is_inside &= tag != "script"

    def handle_data(self, data: str) -> None:
        if self._is_inside:
            self.found[-1] += data


def data_of(page: Path) -> dict[str, Any]:
    parser = Scripts()
    parser.feed(page.read_text(encoding="utf-8"))
    assert len(parser.found) == 2, "the data, and the program"
    found: dict[str, Any] = json.loads(parser.found[0])
    return found


# --- what is read ----------------------------------------------------------------------------------------------------


def test_the_last_line_of_an_id_counts(tmp_path: Path) -> None:
    """A job that was tried again is one job; rows are in the order of the file, whatever ended first."""
    data = data_of(
        written(tmp_path, bad(3, "failed", "TaskFailed", "no"), line(2), line(3), line(1), line(3, id="other"))
    )
    assert [(job["row"], job["id"], job["state"]) for job in data["jobs"]] == [
        (1, "bulk-3f2a-1", "done"),
        (2, "bulk-3f2a-2", "done"),
        (3, "bulk-3f2a-3", "done"),
        (3, "other", "done"),
    ]
    assert data["jobs"][2]["tries"] == 2
    assert "tries" not in data["jobs"][0]
    assert data["causes"] == []
    long = "x" * 300
    data = data_of(written(tmp_path, line(1, status="processing"), line(1), line(2, id=long), line(3, id=f"{long}y")))
    assert [job.get("tries") for job in data["jobs"]] == [None] * 3, "going on with a job is no new try"


def test_a_wrong_row_gives_way_to_a_later_line_of_its_row(tmp_path: Path) -> None:
    wrong = bad(1, "invalid", "InvalidRequest", "duration", id=None)
    again = bad(1, "invalid", "InvalidRequest", "mode", id=None)
    rows, _ = read_manifest_of(tmp_path, wrong, again)
    assert [(row["error"]["message"], failures) for row, failures in rows] == [("mode", 0)]
    rows, _ = read_manifest_of(tmp_path, wrong, line(1))
    assert [(row["status"], failures) for row, failures in rows] == [("succeeded", 0)]
    rows, _ = read_manifest_of(tmp_path, line(1), wrong)
    assert len(rows) == 2, "what was paid stays"
    rows, _ = read_manifest_of(tmp_path, wrong | {"row": None}, wrong | {"row": None})
    assert len(rows) == 2


def read_manifest_of(folder: Path, *lines: object) -> Any:
    written(folder, *lines)
    rows, unread = read_manifest(folder / "manifest.jsonl")
    return list(rows), unread


@pytest.mark.parametrize("torn", ['{"row": 2, "id": "x", "prom', '{"row": 2}[', '{"prompt": "\ud83d'[:-1] + "é", "[1]"])
def test_a_torn_last_line_is_ignored(tmp_path: Path, torn: str) -> None:
    assert [job["row"] for job in data_of(written(tmp_path, line(1), torn, end=""))["jobs"]] == [1]
    assert data_of(tmp_path / "index.html")["unread"] == 0
    assert data_of(written(tmp_path, line(1), torn, line(3)))["unread"] == 1, "in the middle it is told"


def test_bytes_that_are_no_text_and_depth_without_end(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_bytes(
        b'\xff\xfe{"row": 1}\n' + b"[" * 100_000 + b"\n\n" + json.dumps(line(1)).encode() + b"\r\n"
    )
    rows, unread = read_manifest(tmp_path / "manifest.jsonl")
    assert ([row["row"] for row, _ in rows], unread) == ([1], 2)


def test_no_manifest_is_an_empty_run(tmp_path: Path) -> None:
    page = write_page(tmp_path, is_over=False, now=NOW, total=7)
    assert page == tmp_path / "index.html"
    data = data_of(page)
    assert (data["jobs"], data["over"], data["total"], data["title"]) == ([], False, 7, tmp_path.name)


def test_values_of_any_type_are_borne(tmp_path: Path) -> None:
    """A line of which every value is of a wrong type is shown with what is known: nothing."""
    names = set(line(1)) - {"row", "id"}
    anything: tuple[object, ...] = (None, 7, -1, True, "word", [[]], [{}], {"a": []}, [None], 1e400)
    for wrong in anything:
        written(tmp_path, {"row": 1, "id": "a"} | dict.fromkeys(names, wrong))
        (job,) = data_of(tmp_path / "index.html")["jobs"]
        assert (job["row"], job["id"]) == (1, "a")
    text = '{"row": 1, "id": "a", "times": {"created_at": NaN, "ended_at": 1e999, "sent_at": 1' + "0" * 400 + "}}"
    (job,) = data_of(written(tmp_path, text))["jobs"]
    assert job["at"] == [None] * 5


def test_what_a_line_tells(tmp_path: Path) -> None:
    request = {"text": "Say it", "image": {"path": "pictures/a.png"}, "sound": True, "shots": [1], "cfg": 0.5}
    (job,) = data_of(written(tmp_path, line(1, request=request, input={"name": "first"})))["jobs"]
    assert job == {
        "row": 1,
        "id": "bulk-3f2a-1",
        "endpoint": "text2video",
        "model": "kling-v2-6",
        "prompt": "Say it",
        "name": "first",
        "task": "881",
        "request": "r1",
        "status": "succeeded",
        "state": "done",
        "paid": "yes",
        "files": [{"kind": "video", "path": "a clip.mp4", "href": "a%20clip.mp4", "bytes": 3187}],
        "length": 5.1,
        "billed": [[2.0, "units"]],
        "price": 0.28,
        "currency": "USD",
        "units": 2.0,
        "at": [NOW - 899, NOW - 889, NOW - 888, NOW - 798, NOW - 797],
        "settings": {"image": "pictures/a.png", "sound": "true", "cfg": "0.5"},
    }
    parts = {"contents": [{"type": "image"}, {"type": "text", "text": "one"}, {"text": "two"}]}
    (job,) = data_of(written(tmp_path, line(1, request=parts)))["jobs"]
    assert job["prompt"] == "one\ntwo"
    (job,) = data_of(written(tmp_path, line(1, request={"prompt": "x" * 9_000})))["jobs"]
    assert len(job["prompt"]) == 5_000


@pytest.mark.parametrize(
    ("failure", "state", "title"),
    [
        (("failed", "TaskFailed", 1301), "failed", "Refused for its content"),
        (("failed", "TaskFailed", 5000), "failed", "The service could not make it"),
        (("rejected", "AccountError", 1102), "failed", "The account may not do this"),
        (("rejected", "New", None), "failed", "Refused by the service"),
        (("invalid", "", None), "failed", "The row cannot be sent"),
        (("vanished", "", None), "failed", "The service no longer knows it"),
        (("unresolved", "SubmissionUnknown", None), "unclear", "Not known whether it was made"),
        (("abandoned", "", None), "unclear", "Followed no longer"),
        (("a word of tomorrow", "", None), "unclear", "Not known whether it was made"),
        (("succeeded", "AnyError", None), "unsaved", "Made, and not saved"),
    ],
)
def test_failures_have_a_cause_and_an_advice(
    tmp_path: Path, failure: tuple[str, str, int | None], state: str, title: str
) -> None:
    status, kind, code = failure
    data = data_of(written(tmp_path, bad(1, status, kind, "why", code=code), bad(2, status, kind, "why", code=code)))
    assert [cause["title"] for cause in data["causes"]] == [title]
    assert data["causes"][0]["advice"].endswith(".")
    assert [(job["state"], job["cause"], job["error"]) for job in data["jobs"]] == [(state, 0, "why")] * 2


@pytest.mark.parametrize(
    ("status", "state"), [("queued", "waiting"), *((word, "running") for word in ("sending", "unsure", "processing"))]
)
def test_jobs_left_open(tmp_path: Path, status: str, state: str) -> None:
    (job,) = data_of(written(tmp_path, line(1, status=status, files=[])))["jobs"]
    assert job["state"] == state
    assert "cause" not in job


# --- what is written -------------------------------------------------------------------------------------------------


def test_data_never_leaves_its_script(tmp_path: Path) -> None:
    hostile = line(1, request={"prompt": HOSTILE, HOSTILE: HOSTILE}, id=HOSTILE, model=HOSTILE)
    text = json.dumps(hostile).replace("Clip 1", "\\ud800")
    page = written(tmp_path, text, bad(2, "failed", HOSTILE, HOSTILE))
    source = page.read_text(encoding="utf-8")
    data = source.partition('type="application/json">')[2].partition("</script>")[0]
    assert not set("<>&\u2028\u2029\n") & set(data)
    job, failed = data_of(page)["jobs"]
    assert job["prompt"] == job["id"] == job["model"] == failed["error"] == HOSTILE
    assert embed({"a": "\u2029</é"}) == '{"a":"\\u2029\\u003c/é"}'


def test_a_folder_with_a_hostile_name(tmp_path: Path) -> None:
    source = written(tmp_path / "<b>{{DATA}}&", line(1)).read_text(encoding="utf-8")
    assert "<title>&lt;b&gt;{{DATA}}&amp;</title>" in source
    assert data_of(tmp_path / "<b>{{DATA}}&" / "index.html")["title"] == "<b>{{DATA}}&"


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/a.png", "../a.png", "a/../../b.png", "./a.png", "a//b.png", "..\\a.png", "C:\\a.png", "", None, 7),
        *("a.html", "a.svg", "a.mp4.htm", "a", "a.png/", "\0.png", "javascript:alert(1)", "\ud800.png"),
    ],
)
def test_paths_that_are_not_linked(path: object) -> None:
    assert link(path) is None


@pytest.mark.parametrize(
    ("path", "href"),
    [
        ("a.mp4", "a.mp4"),
        ("deep er/ü#?%.PNG", "deep%20er/%C3%BC%23%3F%25.PNG"),
        ("javascript:alert(1).mp4", "javascript%3Aalert%281%29.mp4"),
        ("..a.mp3", "..a.mp3"),
        ('"><b>.srt', "%22%3E%3Cb%3E.srt"),
    ],
)
def test_links_are_encoded(path: str, href: str) -> None:
    assert link(path) == href


def test_the_page_is_whole_or_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = written(tmp_path, line(1))
    before = page.read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        written(tmp_path, line(1), line(2))
    assert page.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["index.html", "manifest.jsonl"]


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    """One file: no address of another host, no script or style by address, and a policy that would refuse them."""
    source = written(tmp_path, line(1)).read_text(encoding="utf-8")
    program = source.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//[a-z]+\.|@import|<link|src=[\"']", program)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', source)
    assert policy is not None
    assert "default-src &#x27;none&#x27;" in policy[1]
    assert "unsafe" not in policy[1]


# --- in Chromium -----------------------------------------------------------------------------------------------------

needs_browser = pytest.mark.skipif(browser.PROGRAM is None, reason="there is no chromium")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with browser.chromium(tmp_path_factory.mktemp("browser") / "profile") as address:
        yield address


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page with clips, a picture, a sound, failures and hostile words."""
    folder = tmp_path_factory.mktemp("run") / "Autumn & <b>co"
    folder.mkdir()
    shutil.copy(MEDIA / "16x9.mp4", folder / "a clip.mp4")
    (folder / "picture #1.png").write_bytes(png(320, 180))
    (folder / "sound.mp3").write_bytes(mp3(5, "t"))
    picture, sound = ({"path": name, "kind": "x", "bytes": 9} for name in ("picture #1.png", "sound.mp3"))
    page = written(
        folder,
        *(line(row) for row in range(1, 9)),
        line(9, files=[picture, picture | {"path": "gone.png"}], endpoint="images", estimate=None),
        line(10, files=[sound], endpoint="text-to-audio", model=None, billing=[{"amount": 0.25, "unit": "sounds"}]),
        line(11, request={"prompt": HOSTILE}, id=HOSTILE, model=HOSTILE, files=[{"path": "../../etc/passwd"}]),
        bad(12, "failed", "TaskFailed", f"Unfit {HOSTILE}", code=1301),
        bad(13, "unresolved", "SubmissionUnknown", "sent, and no answer", paid="maybe"),
        line(14, status="processing", files=[], billing=[], times={"created_at": NOW - 500, "sent_at": NOW - 400}),
        is_over=False,
        total=20,
    )
    return page.as_uri()


def fine(page: Page) -> None:
    """Nothing was thrown, printed or refused, and nothing was asked of the network; one picture is gone on purpose."""
    assert [text for text in page.complaints if "ERR_FILE_NOT_FOUND" not in text] == []
    assert [url for url in page.requested if not url.startswith(("file:", "data:"))] == []
    assert not [url for url in page.requested if "passwd" in url]


IN_ORDER = "sort.value = 'row', sort.dispatchEvent(new Event('change')), jobs.scrollIntoView()"
VIDEO = "document.querySelector('.job video')"


@needs_browser
@pytest.mark.realtime
async def test_what_one_sees(chromium: str, run: str) -> None:
    """Figures, failures with their reasons before the clips, hostile words as words, and every kind of file."""
    async with tab(chromium) as page:
        await page.go(run)
        figures = await page.see("document.querySelector('#figures').innerText")
        assert re.search(r"Done\s+11 of 20", figures)
        assert re.search(r"Failed\s+2\s+1 failed, 1 not known", figures)
        assert re.search(r"Spent\s+20 units\s+0.25 sounds\s+as told for 11 jobs; 1 job perhaps paid", figures)
        reasons = await page.see("document.querySelector('#failures').innerText")
        assert reasons.index("perhaps paid") < reasons.index("not paid"), "money first"
        assert HOSTILE.replace("\u2028\u2029", "") in reasons.replace("\u2028", "").replace("\u2029", "")
        assert await page.see(
            "failures.compareDocumentPosition(jobs) === Node.DOCUMENT_POSITION_FOLLOWING && !failures.hidden"
        )
        assert await page.see("document.querySelector('#standing').textContent") == "Still running"
        assert "No news for" in await page.see("document.querySelector('#notes').textContent")
        await page.see("document.querySelector('footer').scrollIntoView()")
        await page.until("document.querySelectorAll('.job').length === 14")
        await page.until("[...document.querySelectorAll('.job video')].some(v => v.videoWidth === 256)")
        await page.until("[...document.querySelectorAll('.job img')].some(i => i.naturalWidth === 320)")
        assert await page.see("document.querySelectorAll('.job audio[controls]').length") == 1
        assert await page.see("[...document.querySelectorAll('.prompt')].some(p => p.textContent.includes('</scr'))")
        assert await page.see("window.hacked") is None
        assert await page.see("document.title") == "Autumn & <b>co"
        assert await page.see("document.querySelectorAll('#chart path').length") == 4
        assert await page.see("document.querySelectorAll('#table tbody tr').length") == 11
        fine(page)
        # Words that got out after all would find that no other script may run.
        await page.see("document.body.append(Object.assign(document.createElement('script'), {text: 'hacked = 1'}))")
        assert await page.see("window.hacked") is None
        assert "Content Security Policy" in page.complaints[-1]


@needs_browser
@pytest.mark.realtime
async def test_clips_play_under_the_pointer_and_in_the_large_view(chromium: str, run: str) -> None:
    async with tab(chromium) as page:
        await page.go(run)
        await page.click("#filter-done")
        await page.see(IN_ORDER)
        await page.until(f"{VIDEO}?.readyState >= 2")
        assert await page.see(f"{VIDEO}.paused && {VIDEO}.muted")
        await page.point(".job video")
        await page.until(f"{VIDEO}.currentTime > 0.05")
        await page.send("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
        await page.until(f"{VIDEO}.paused && {VIDEO}.currentTime < 0.05")
        # With the keyboard alone: on to the first card, which plays, then into the large view and through it.
        await page.see("document.querySelector('#sort').focus()")
        await page.key("Tab")
        assert await page.see("document.activeElement.className") == "open"
        await page.until("[...document.querySelectorAll('.job video')].some(v => v.currentTime > 0.05)")
        await page.key("Home")
        await page.key("Enter")
        await page.until("document.querySelector('#media video')?.currentTime > 0.05")
        assert await page.see("document.querySelector('#media video').muted")
        first = await page.see("document.querySelector('#dialog-title').textContent")
        assert first.endswith("1 of 11")
        await page.key("ArrowRight", 2)
        assert (await page.see("document.querySelector('#dialog-title').textContent")).endswith("3 of 11")
        await page.key("ArrowLeft")
        await page.key("Escape")
        await page.until("!document.querySelector('#dialog').open")
        await page.until("!document.querySelector('#media').childElementCount")
        assert await page.see("document.activeElement.closest('.job').getAttribute('aria-posinset')") == "2"
        fine(page)


@needs_browser
@pytest.mark.realtime
async def test_nothing_moves_for_those_who_ask_for_calm(chromium: str, run: str) -> None:
    async with tab(chromium, prefers_reduced_motion="reduce") as page:
        await page.go(run)
        await page.see(IN_ORDER)
        await page.until(f"{VIDEO}?.readyState >= 2")
        await page.point(".job video")
        await asyncio.sleep(0.2)
        assert await page.see(f"{VIDEO}.paused")
        await page.click(".job .open")
        await page.until("document.querySelector('#media video')?.readyState >= 2")
        assert await page.see("document.querySelector('#media video').paused")


@needs_browser
@pytest.mark.realtime
async def test_search_filter_and_sort_outlive_a_reload(chromium: str, run: str) -> None:
    async with tab(chromium, 700, 500) as page:
        await page.go(run)
        await page.click("#filter-done")
        await page.see("document.querySelector('#search').focus()")
        await page.type("sea kling-v2")
        await page.until("document.querySelector('#heard').textContent === '9 of 14 jobs'")
        await page.see("sort.value = 'row', sort.dispatchEvent(new Event('change')), scrollTo(0, 900)")
        top = "scrollY"
        at = await page.until(top)
        await page.reload()
        assert await page.see("document.querySelector('#search').value") == "sea kling-v2"
        assert await page.see("document.querySelector('#heard').textContent") == "9 of 14 jobs"
        assert await page.see("document.querySelector('#filter-done').ariaPressed") == "true"
        assert await page.see("document.querySelector('#sort').value") == "row"
        assert abs(await page.see(top) - at) < 2
        assert await page.see("document.activeElement.id") == "search"
        await page.see("search.value = 'no such words', search.dispatchEvent(new Event('input'))")
        await page.until("!document.querySelector('#empty').hidden")
        await page.see("document.querySelector('#empty button').click()")
        assert await page.see("document.querySelector('#heard').textContent") == "14 jobs"
        fine(page)


CONTRAST = """(() => {
  const lum = c => c.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const poor = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest('.badge, script, .unseen')) continue;
    let under = element, ground;
    while (under && (ground = rgb(getComputedStyle(under).backgroundColor)).length === 4) under = under.parentElement;
    const [a, b] = [lum(rgb(getComputedStyle(element).color).slice(0, 3)), lum(under ? ground : [255, 255, 255])];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${element.className} ${walk.currentNode.data.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return poor;
})()"""


@needs_browser
@pytest.mark.realtime
async def test_light_and_dark_on_a_narrow_screen(chromium: str, run: str) -> None:
    """Every word has a contrast of 4.5 to 1 in both, nothing is wider than the screen, and the switch is obeyed."""
    async with tab(chromium, 400, 800, prefers_color_scheme="light") as page:
        await page.go(run)
        grounds = set()
        for scheme in ("light", "dark"):
            await page.screen(400, 800, prefers_color_scheme=scheme)
            assert await page.see(CONTRAST) == [], scheme
            grounds.add(await page.see("getComputedStyle(document.body).backgroundColor"))
        assert len(grounds) == 2
        assert await page.see("document.documentElement.scrollWidth <= innerWidth")
        await page.click("#theme")
        assert await page.see("document.querySelector('#theme').textContent") == "Theme: light"
        assert await page.see("getComputedStyle(document.documentElement).colorScheme") == "light"
        await page.click("#theme")
        await page.click("#theme")
        await page.see("document.querySelector('.job .open').click()")
        assert await page.see("dialog.getBoundingClientRect().right <= document.documentElement.clientWidth")
        fine(page)


@needs_browser
@pytest.mark.realtime
async def test_a_screen_reader_finds_its_way(chromium: str, run: str) -> None:
    """Landmarks, a name for whatever can be used, and a place in the whole for each card."""
    async with tab(chromium) as page:
        await page.go(run)
        await page.send("Accessibility.enable")
        tree = (await page.send("Accessibility.getFullAXTree"))["nodes"]
        told = [
            (node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node.get("ignored")
        ]
        roles = {role for role, _ in told}
        assert {"banner", "main", "contentinfo", "search", "region", "status", "image"} <= roles
        assert {"Autumn & <b>co", "2 jobs gave no result", "Time line", "All jobs"} <= {
            name for role, name in told if role == "heading"
        }
        usable = {"button", "textbox", "searchbox", "combobox", "link", "DisclosureTriangle", "Audio", "progressbar"}
        assert [role for role, name in told if role in usable and not name.strip()] == []
        assert ("button", "Row 8, done. Clip 8 of the sea. kling-v2-6. 5.1 s. 2 units") in told
        assert await page.see("document.querySelector('.job').getAttribute('aria-setsize')") == "14"


@needs_browser
@pytest.mark.realtime
async def test_the_page_of_a_run_that_goes_on_loads_itself_again(chromium: str, run: str, tmp_path: Path) -> None:
    """Every 15 s; the page of a run that is over stays as it is. Its clock runs a hundred times as fast here."""
    hurry = (
        "{ const now = Date.now, begun = now(), every = setInterval; Date.now = () => begun + (now() - begun) * 100;"
        " window.setInterval = (call, ms) => every(call, ms / 100); }"
    )
    async with tab(chromium) as page:
        await page.send("Page.addScriptToEvaluateOnNewDocument", source=hurry)
        await page.go(run)
        await page.hear(lambda: page.loads > 1)
    async with tab(chromium) as other:
        await other.send("Page.addScriptToEvaluateOnNewDocument", source=hurry)
        await other.go(written(tmp_path, line(1)).as_uri())
        await asyncio.sleep(0.4)
        await other.see("0")
        assert other.loads == 1


@needs_browser
@pytest.mark.realtime
async def test_five_thousand_jobs(chromium: str, tmp_path: Path) -> None:
    """Only what is near the window exists, from the first card to the last; so its cost does not grow with the run."""
    shutil.copy(MEDIA / "16x9.mp4", tmp_path / "a clip.mp4")
    rows = [bad(row, "failed", "TaskFailed", "no") if row % 10 == 0 else line(row) for row in range(1, 5001)]
    address = written(tmp_path, *rows).as_uri()
    assert (tmp_path / "index.html").stat().st_size < 4_000_000
    async with tab(chromium) as page:
        await page.go(address)
        assert await page.see("document.querySelector('#heard').textContent") == "5,000 jobs"
        most = await page.see(
            """new Promise(done => { let frame = 0, most = 0; const step = () => {
              scrollBy(0, 300); most = Math.max(most, document.querySelectorAll('.job').length);
              if (++frame < 30) requestAnimationFrame(step); else done(most); }; requestAnimationFrame(step); })"""
        )
        assert 12 <= most <= 60
        assert await page.see("document.querySelectorAll('*').length") < 2_000
        assert await page.see("scrollY") == 9_000
        await page.see("document.querySelector('.job .open').focus()")
        await page.key("End")
        assert await page.see("document.activeElement.ariaLabel.slice(0, 8)") == "Row 5000"
        assert await page.see("document.querySelectorAll('.job').length") <= 60
        await page.until("[...document.querySelectorAll('.job video')].some(video => video.readyState >= 2)")
        assert await page.see("document.querySelectorAll('video[src]').length") <= 40
        await page.click("#as-jobs")
        assert await page.see("document.querySelectorAll('#chart path').length") == 4
        await page.see("document.querySelector('#show-failures').click()")
        assert await page.see("document.querySelector('#heard').textContent") == "500 of 5,000 jobs"
        fine(page)
