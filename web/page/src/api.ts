// The JSON API, as far as the page needs it. Field names are the server's.

export interface Missing {
  evicted: number;
  late: number;
  failed: number;
  no_lane: number;
  cancelled: number;
}

export interface Ledger {
  decoded: number;
  waiting: number;
  skipped: number;
  refused: number;
  admitted: number;
  answered: number;
  not_asked: number;
  missing: Missing;
  held: number;
}

export interface Stream {
  id: string;
  source: string;
  model: string | null;
  size: { width: number; height: number } | null;
  rtsp_url: string | null;
  state: string;
  reason: string | null;
  viewers: { rtsp: number; mjpeg: number };
  fps: number;
  latency_ms: { p50: number; p95: number; p99: number; max: number } | null;
  ledger: Ledger;
}

export interface Worker {
  id: string;
  name: string;
  kind: string;
  remote: string | null;
  keys: { task: string; model: string | null; warm: boolean }[];
  credit: number;
  outstanding: number;
  answered: number;
  state: string;
}

/** A server that does not answer is asked again; waiting longer than this for one answer is pointless. */
const TIMEOUT_MS = 4000;

async function get<T>(path: string): Promise<T> {
  const response = await fetch(path, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) {
    throw new Error(`${path}: ${response.status}`);
  }
  return (await response.json()) as T;
}

export function streams(): Promise<Stream[]> {
  return get("/api/v1/streams");
}

export function workers(): Promise<Worker[]> {
  return get("/api/v1/workers");
}

export function mjpegPath(id: string): string {
  return `/streams/${encodeURIComponent(id)}/mjpeg`;
}
