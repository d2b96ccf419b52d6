// Says how large the transport is for a page, and fails when it has grown beyond its limit.

import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const LIMIT = 9.5 * 1024;

const { outputFiles, metafile } = await build({
  stdin: { contents: 'export { ChatrtTransport } from "./dist/index.js";', resolveDir: ".", sourcefile: "page.js" },
  bundle: true,
  minify: true,
  splitting: true,
  outdir: "size",
  format: "esm",
  target: "es2022",
  write: false,
  metafile: true,
});
const gzipped = new Map(outputFiles.map(({ path, contents }) => [path, gzipSync(contents, { level: 9 }).length]));
const outputs = Object.entries(metafile.outputs);
const sizeOf = (name) => [...gzipped].find(([path]) => path.endsWith(name.replace(/^.*\//, "")))?.[1] ?? 0;

/** What a page loads at once: an entry and everything it imports that is not loaded later. */
function atOnce(name, seen = new Set()) {
  if (seen.has(name)) return 0;
  seen.add(name);
  const imports = metafile.outputs[name].imports.filter((one) => one.kind === "import-statement");
  return sizeOf(name) + imports.reduce((sum, { path }) => sum + atOnce(path, seen), 0);
}

const [entry] = outputs.find(([, output]) => output.entryPoint?.endsWith("page.js"));
const size = atOnce(entry);
const later = outputs.reduce((sum, [name]) => sum + sizeOf(name), 0) - size;
console.log(`the transport: ${size} bytes with gzip, of at most ${LIMIT}; ${later} more are loaded when they are needed`);
process.exitCode = size > LIMIT ? 1 : 0;
