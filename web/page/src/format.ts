// Numbers and names for people. Pure.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export function count(n: number): string {
  return whole.format(n);
}

export function rate(fps: number): string {
  return fps.toFixed(1);
}

/** Three digits are enough: 8.4 ms, 84 ms, 0.84 s, 8.4 s. */
export function duration(ms: number): string {
  if (ms < 10) {
    return `${ms.toFixed(1)} ms`;
  }
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

/** A model without a name is shown by the first digits of its hash. */
export function key(task: string, model: string | null): string {
  if (model === null) {
    return task;
  }
  return `${task} · ${/^[0-9a-f]{64}$/.test(model) ? model.slice(0, 8) : model}`;
}
