// Two files inside the Python package: the page, for all hosts, and what passes on its questions in a notebook.
// The same sources give the same bytes.
import { build } from "esbuild";

const folder = process.argv[2] ?? "../src/regard/viewer/static";
for (const [source, made] of [["index", "regard"], ["bridge", "bridge"]]) {
  await build({
    entryPoints: [`src/${source}.ts`],
    outfile: `${folder}/${made}.js`,
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    charset: "ascii",
    legalComments: "none",
  });
}
