// Builds the page into the Python package. The output is committed, so that users and image builds need no Node.js;
// `make verify-ui` fails where it is not what this source builds. It is not minified: a reviewer reads what ships.
import { copyFile, mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const out = process.argv[2] ?? `${here}../src/kubetask_controller/cli/ui/static`;

await mkdir(out, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx" },
  bundle: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  charset: "utf8",
  legalComments: "inline",
  outdir: out,
  logLevel: "warning",
});
for (const [from, to] of [["app.css", "app.css"], ["index.html", "index.html"], ["icon.svg", "icon.svg"]]) {
  await copyFile(`${here}src/${from}`, `${out}/${to}`);
}
