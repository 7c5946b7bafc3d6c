// The moving picture: a motion JPEG that never ends, in an <img>, with the last picture kept behind it so
// that there is always something to see.
import { mjpegPath } from "./api.js";
import { byId, setText } from "./dom.js";
const RETRY_MS = 1000;
/** How soon a first picture is noticed; no event tells of it in every browser. */
const NOTICE_MS = 50;
/** A picture that stays the same for this many looks, while the server says that frames go out, is a
 *  connection that died unheard. Doubled after each try in vain: a still scene is a possible reason too. */
const STILL_LOOKS = 6;
const STILL_LOOKS_MAX = 96;
/** The picture is compared at this size; noise alone differs in it. */
const PROBE = 32;
export class Picture {
    figure = byId("picture", HTMLElement);
    video = byId("video", HTMLImageElement);
    poster = byId("poster", HTMLCanvasElement);
    caption = byId("caption", HTMLElement);
    probe = document.createElement("canvas");
    id = null;
    retry;
    notice;
    last = "";
    still = 0;
    patience = STILL_LOOKS;
    away = false;
    constructor() {
        this.probe.width = PROBE;
        this.probe.height = PROBE;
        this.video.addEventListener("error", () => this.broken());
        // A hidden page watches nothing: the server then makes no pictures for it.
        document.addEventListener("visibilitychange", () => this.connect());
    }
    /** Once a second: the stream as the server tells it. */
    show(stream) {
        if (stream.size !== null) {
            this.figure.style.setProperty("--ratio", `${stream.size.width} / ${stream.size.height}`);
        }
        if (stream.id !== this.id) {
            this.id = stream.id;
            this.last = "";
            // Nothing of another stream may stand under this one's name.
            this.video.removeAttribute("src");
            this.poster.getContext("2d")?.clearRect(0, 0, this.poster.width, this.poster.height);
            this.connect();
        }
        else if (this.away) {
            this.connect();
        }
        this.away = false;
        this.look(stream);
        this.say(captionOf(stream));
    }
    /** The server does not answer: its picture is the last one, and the connection is dead or will be. */
    serverAway() {
        this.away = true;
        this.say("server not reachable, retrying");
    }
    nothing(text) {
        this.id = null;
        this.video.removeAttribute("src");
        this.say(text);
    }
    say(text) {
        this.caption.hidden = text === null;
        if (text !== null) {
            setText(this.caption, text);
        }
    }
    connect() {
        clearTimeout(this.retry);
        this.retry = undefined;
        this.still = 0;
        if (document.hidden || this.id === null) {
            this.video.removeAttribute("src");
            return;
        }
        // The server ignores the query; without it a browser shows the end of the last connection again.
        this.video.src = `${mjpegPath(this.id)}?${Date.now()}`;
        this.unveil();
    }
    /** Shows the <img> as soon as there is a picture in it. Before, it would draw its frame and its text
     *  over the last picture. */
    unveil() {
        const pictured = this.video.naturalWidth > 0;
        this.video.classList.toggle("empty", !pictured);
        if (!pictured && this.video.hasAttribute("src")) {
            clearTimeout(this.notice);
            this.notice = setTimeout(() => this.unveil(), NOTICE_MS);
        }
    }
    broken() {
        this.unveil();
        if (this.video.hasAttribute("src")) {
            this.retry ??= setTimeout(() => this.connect(), RETRY_MS);
        }
    }
    /** Keeps the picture for when the next one fails to come, and sees whether it moves. */
    look(stream) {
        const { video, poster, probe } = this;
        if (document.hidden || video.naturalWidth === 0) {
            return;
        }
        if (poster.width !== video.naturalWidth || poster.height !== video.naturalHeight) {
            poster.width = video.naturalWidth;
            poster.height = video.naturalHeight;
        }
        poster.getContext("2d")?.drawImage(video, 0, 0);
        const context = probe.getContext("2d", { willReadFrequently: true });
        context?.drawImage(video, 0, 0, PROBE, PROBE);
        const now = context?.getImageData(0, 0, PROBE, PROBE).data.join() ?? "";
        if (now !== this.last) {
            this.last = now;
            this.still = 0;
            this.patience = STILL_LOOKS;
        }
        else if (stream.state === "running" && stream.fps > 0 && ++this.still >= this.patience) {
            this.patience = Math.min(this.patience * 2, STILL_LOOKS_MAX);
            this.connect();
        }
    }
}
function captionOf(stream) {
    if (stream.state === "running") {
        return null;
    }
    return stream.reason === null ? stream.state : `${stream.state}: ${stream.reason}`;
}
