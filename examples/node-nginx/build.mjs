// Every page of src/ as HTML in dist/.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { marked } from "marked";

mkdirSync("dist", { recursive: true });
for (const name of readdirSync("src")) {
  const html = marked.parse(readFileSync(`src/${name}`, "utf8"));
  writeFileSync(`dist/${name.replace(/\.md$/, ".html")}`, `<!doctype html>\n${html}`);
}
