// The JSON API, as far as the page needs it. Field names are the server's.
/** A server that does not answer is asked again; waiting longer than this for one answer is pointless. */
const TIMEOUT_MS = 4000;
async function get(path) {
    const response = await fetch(path, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) {
        throw new Error(`${path}: ${response.status}`);
    }
    return (await response.json());
}
export function streams() {
    return get("/api/v1/streams");
}
export function workers() {
    return get("/api/v1/workers");
}
export function mjpegPath(id) {
    return `/streams/${encodeURIComponent(id)}/mjpeg`;
}
