import assert from "node:assert/strict";
import { test } from "node:test";

import { count, duration, key } from "../dist/format.js";
import { equations } from "../dist/ledger.js";

const LEDGER = {
  decoded: 100,
  waiting: 1,
  skipped: 2,
  refused: 3,
  admitted: 94,
  answered: 80,
  not_asked: 4,
  missing: { evicted: 1, late: 2, failed: 0, no_lane: 3, cancelled: 0 },
  held: 4,
};

test("both equations hold for books that balance", () => {
  assert.deepEqual(equations(LEDGER).map((equation) => equation.holds), [true, true]);
});

test("each equation notices its own error", () => {
  const holds = (change) => equations({ ...LEDGER, ...change }).map((equation) => equation.holds);
  assert.deepEqual(holds({ decoded: 101 }), [false, true]);
  assert.deepEqual(holds({ held: 5 }), [true, false]);
  assert.deepEqual(holds({ missing: { ...LEDGER.missing, late: 3 } }), [true, false]);
});

test("numbers are short and steady", () => {
  assert.equal(count(1234567), "1,234,567");
  assert.equal(duration(8.44), "8.4 ms");
  assert.equal(duration(84.4), "84 ms");
  assert.equal(duration(1234), "1.23 s");
  assert.equal(duration(12345), "12.3 s");
});

test("a model without a name is shown by its hash's first digits", () => {
  assert.equal(key("detect", "nanodet"), "detect · nanodet");
  assert.equal(key("detect", "ab".repeat(32)), "detect · abababab");
  assert.equal(key("wordcount", null), "wordcount");
});
