// One file for all hosts, inside the Python package. The same sources give the same bytes.
import { build } from "esbuild";

await build({
  entryPoints: ["src/index.ts"],
  outfile: process.argv[2] ?? "../src/regard/viewer/static/regard.js",
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "ascii",
  legalComments: "none",
});
