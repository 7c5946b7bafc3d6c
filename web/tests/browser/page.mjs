// Opens the page in headless Chromium, as a person would, and sees whether it lives.
//
//   node page.mjs URL OUT.png
//
// Waits until the picture moves and the server counts frames, checks that the ledger balances on the page
// and that the console stays clean, saves a screenshot and prints one line of JSON. Ends with 1, and the
// reason in the JSON, if any of it does not come.

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const TIMEOUT_MS = 60_000;
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

const [url, out] = process.argv.slice(2);
if (url === undefined || out === undefined) {
  console.error("usage: node page.mjs URL OUT.png");
  process.exit(2);
}
if (!existsSync(CHROMIUM)) {
  console.error(`${CHROMIUM} is not there: install chromium, or set CHROMIUM to a Chromium's path`);
  process.exit(2);
}

/** Runs in the page: what the picture and the numbers are now. */
function look() {
  const text = (id) => document.getElementById(id)?.textContent ?? "";
  const video = document.getElementById("video");
  const canvas = document.createElement("canvas");
  canvas.width = 64;
  canvas.height = 48;
  let picture = "";
  if (video.naturalWidth > 0) {
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(video, 0, 0, canvas.width, canvas.height);
    picture = context.getImageData(0, 0, canvas.width, canvas.height).data.join();
  }
  return {
    picture,
    width: video.naturalWidth,
    height: video.naturalHeight,
    stream: text("name"),
    state: text("state"),
    fps: Number.parseFloat(text("fps")) || 0,
    latency: text("p50"),
    balance: text("balance"),
    workers: document.querySelectorAll("#workers tr[data-state]").length,
    contact: text("contact"),
  };
}

/** Two pictures that differ: of 64x48x4 numbers, how many. */
function difference(a, b) {
  const other = b.split(",");
  return a.split(",").filter((value, i) => value !== other[i]).length;
}

const profile = mkdtempSync(join(tmpdir(), "framelane-page-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: CHROMIUM,
  headless: true,
  viewport: { width: 1440, height: 900 },
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});

const complaints = [];
const result = { ok: false, url, out, reason: null, moves: 0, seen: null, complaints };
try {
  const page = await browser.newPage();
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") {
      complaints.push(message.text());
    }
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(url, { timeout: TIMEOUT_MS });

  const deadline = Date.now() + TIMEOUT_MS;
  let first = "";
  let seen;
  for (;;) {
    seen = await page.evaluate(look);
    if (first === "") {
      first = seen.picture;
    } else if (seen.picture !== "") {
      result.moves = Math.max(result.moves, difference(first, seen.picture));
    }
    const balanced = seen.balance.startsWith("✓");
    if (result.moves > 0 && seen.fps > 0 && seen.state === "running" && balanced) {
      result.ok = true;
      break;
    }
    if (Date.now() > deadline) {
      result.reason = "the picture does not move, or the numbers do not come";
      break;
    }
    // The page itself asks once a second; a picture comes several times as often.
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const { picture, ...facts } = seen;
  result.seen = facts;
  await page.screenshot({ path: out });
} catch (error) {
  result.ok = false;
  result.reason = String(error);
} finally {
  await browser.close();
  rmSync(profile, { recursive: true, force: true });
}
if (result.ok && complaints.length > 0) {
  result.ok = false;
  result.reason = "the browser's console is not clean";
}
console.log(JSON.stringify(result));
process.exit(result.ok ? 0 : 1);
