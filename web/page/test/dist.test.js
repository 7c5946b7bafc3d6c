// What is committed in dist/ is what tsc makes of src/: the server compiles dist/ in, and nobody should
// have to remember to build it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const page = fileURLToPath(new URL("..", import.meta.url));

test("dist is what tsc makes of src", () => {
  const out = mkdtempSync(join(tmpdir(), "framelane-dist-"));
  try {
    const tsc = join(page, "node_modules", "typescript", "bin", "tsc");
    execFileSync(process.execPath, [tsc, "--project", page, "--outDir", out], { stdio: "inherit" });
    assert.deepEqual(readdirSync(join(page, "dist")).sort(), readdirSync(out).sort());
    for (const name of readdirSync(out)) {
      const [committed, built] = [join(page, "dist"), out].map((folder) => readFileSync(join(folder, name), "utf8"));
      assert.equal(committed, built, `dist/${name} is old: run "npm run build" in web/page`);
    }
  } finally {
    rmSync(out, { recursive: true });
  }
});
