// What the numbers look like. Each part takes the server's answer and updates its own elements.
import { byId, keep, make, setText } from "./dom.js";
import { count, duration, key, rate } from "./format.js";
import { equations, missingTotal } from "./ledger.js";
export function showTabs(streams, shown) {
    // One stream needs no choice.
    const tabs = streams.length > 1 ? streams : [];
    const create = () => make("a", "tab");
    keep(byId("streams", HTMLElement), tabs, create, (tab, stream) => {
        setText(tab, stream.id);
        tab.setAttribute("href", `#${encodeURIComponent(stream.id)}`);
        tab.dataset["state"] = stream.state;
        if (stream.id === shown) {
            tab.setAttribute("aria-current", "page");
        }
        else {
            tab.removeAttribute("aria-current");
        }
    });
}
export function showStream(stream) {
    text("name", stream.id);
    const facts = [stream.source];
    if (stream.size !== null) {
        facts.push(`${stream.size.width} × ${stream.size.height}`);
    }
    facts.push(stream.model === null ? "no model" : stream.model);
    text("source", facts.join(" · "));
    const state = byId("state", HTMLElement);
    setText(state, stream.state);
    state.dataset["state"] = stream.state;
    byId("rtsp", HTMLElement).hidden = stream.rtsp_url === null;
    text("rtsp-url", stream.rtsp_url ?? "");
    text("fps", rate(stream.fps));
    const latency = stream.latency_ms;
    text("p50", latency === null ? "–" : duration(latency.p50));
    text("p95", latency === null ? "–" : duration(latency.p95));
    text("p99", latency === null ? "–" : duration(latency.p99));
    text("max", latency === null ? "–" : duration(latency.max));
    text("viewers", count(stream.viewers.rtsp + stream.viewers.mjpeg));
    showLedger(stream.ledger);
}
function showLedger(ledger) {
    const both = equations(ledger);
    const balanced = both.every((equation) => equation.holds);
    const balance = byId("balance", HTMLElement);
    setText(balance, balanced ? "✓ balanced" : "✗ does not balance");
    balance.dataset["state"] = balanced ? "running" : "failed";
    const parts = byId("equations", HTMLElement);
    keep(parts, both, () => make("div", "equation"), showEquation);
    const reasons = [
        { label: "evicted", value: ledger.missing.evicted },
        { label: "late", value: ledger.missing.late },
        { label: "failed", value: ledger.missing.failed },
        { label: "no worker", value: ledger.missing.no_lane },
        { label: "cancelled", value: ledger.missing.cancelled },
    ];
    keep(byId("missing", HTMLElement), reasons, createTerm, showTerm);
    const shares = [
        { label: "answered", value: ledger.answered },
        { label: "not-asked", value: ledger.not_asked },
        { label: "missing", value: missingTotal(ledger.missing) },
        { label: "held", value: ledger.held },
    ];
    keep(byId("ledger-bar", HTMLElement), shares, () => make("i", ""), (share, term) => {
        share.className = term.label;
        share.style.flexGrow = String(term.value);
    });
}
/** `decoded = waiting + …`, a line for each number. */
function showEquation(row, equation) {
    row.dataset["holds"] = String(equation.holds);
    row.title = equation.holds ? "the two sides are equal" : "the two sides differ";
    keep(row, [equation.left, ...equation.right], createTerm, showTerm);
}
function createTerm() {
    const term = make("div", "term");
    term.append(make("dt", ""), make("dd", ""));
    return term;
}
function showTerm(element, term) {
    const [label, value] = element.children;
    if (label !== undefined && value !== undefined) {
        setText(label, term.label);
        setText(value, count(term.value));
    }
    element.dataset["term"] = term.label;
    element.dataset["zero"] = String(term.value === 0);
}
export function showWorkers(workers) {
    const noun = workers.length === 1 ? "lane" : "lanes";
    text("worker-count", workers.length === 0 ? "" : `${workers.length} ${noun}`);
    const body = byId("workers", HTMLElement);
    if (workers.length === 0) {
        keep(body, ["none"], createRow, (row) => {
            keep(row, ["no worker is connected: the video flows without boxes"], () => make("td", "dim"), setText);
            row.firstElementChild?.setAttribute("colspan", "6");
        });
        return;
    }
    keep(body, workers, createRow, showWorker);
}
function createRow() {
    return make("tr", "");
}
function showWorker(row, worker) {
    const lane = worker.remote === null ? worker.kind : `${worker.kind} · ${worker.remote}`;
    const does = worker.keys.map((item) => key(item.task, item.model)).join(", ");
    const cells = [
        [worker.name, "strong"],
        [lane, "dim"],
        [does, ""],
        [`${count(worker.outstanding)} / ${count(worker.credit)}`, "n"],
        [count(worker.answered), "n"],
        [worker.state, "state"],
    ];
    keep(row, cells, () => make("td", ""), (cell, [content, kind]) => {
        cell.removeAttribute("colspan");
        cell.className = kind;
        setText(cell, content);
    });
    row.dataset["state"] = worker.state;
}
function text(id, content) {
    setText(byId(id, HTMLElement), content);
}
