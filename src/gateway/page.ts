import { createHash } from 'node:crypto'

/** No scripts, no fonts, nothing fetched: the page is one file. Light and dark follow the reader's system. */
const style = `
:root{color-scheme:light dark;--ink:#1a2230;--soft:#5c6779;--line:#e3e7ee;--paper:#fff;--back:#f4f6f9;--link:#0b5cad;--hover:#f0f5fb}
@media (prefers-color-scheme:dark){:root{--ink:#e4e9f1;--soft:#97a3b6;--line:#2b3442;--paper:#171d27;--back:#0f141b;--link:#74b4f7;--hover:#1e2733}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.35rem;margin:0 0 .5rem;line-height:1.3;overflow-wrap:anywhere}
a{color:var(--link);text-decoration:none}
a:hover,a:focus-visible{text-decoration:underline}
code,.ipfs-hash,.path,.code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.86em}
.card{background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:1.25rem 1.4rem}
.card.list{padding:0;overflow:hidden}
.list header{padding:1.1rem 1.4rem .9rem;border-bottom:1px solid var(--line)}
.path{overflow-wrap:anywhere;color:var(--soft)}
.meta,.hint,.code{color:var(--soft)}
.meta{font-size:.88rem;margin:.45rem 0 0}
.code{margin-bottom:0}
p{overflow-wrap:anywhere}
table{width:100%;border-collapse:collapse;table-layout:fixed}
td,th{padding:.5rem .7rem;border-bottom:1px solid var(--line);text-align:left;font-weight:400;vertical-align:top}
tr:last-child td{border-bottom:0}
tbody tr:hover{background:var(--hover)}
td:first-child,th:first-child{padding-left:1.4rem;overflow-wrap:anywhere}
td:last-child,th:last-child{padding-right:1.4rem}
th{font-size:.8rem;color:var(--soft)}
.size{width:8rem;text-align:right;white-space:nowrap;color:var(--soft);font-variant-numeric:tabular-nums}
td.size{font-size:.94rem}
.cid{width:11rem;white-space:nowrap;text-align:right}
.ipfs-hash{color:var(--soft)}
nav{padding:.8rem 1.4rem;border-top:1px solid var(--line);display:flex;gap:1.5rem}
.empty{padding:1.4rem;margin:0;color:var(--soft)}
footer{margin:1rem .2rem;overflow-wrap:anywhere;color:var(--soft);font-size:.85rem}
pre{overflow-x:auto;background:var(--back);border-radius:6px;padding:.7rem .9rem;margin:.8rem 0}
@media (max-width:36rem){main{margin:.8rem auto;padding:0 .6rem}.cid{display:none}.size{width:6.6rem}td:last-child,th:last-child{padding-right:1rem}td:first-child,th:first-child,.list header,nav{padding-left:1rem}.list header{padding-right:1rem}}
`

const styleHash = createHash('sha256').update(style).digest('base64')

/** Pages of ours run nothing and load nothing, whatever slipped into them. */
export const pagePolicy = `default-src 'none'; style-src 'sha256-${styleHash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'`

/** `main` is HTML; `title` is text. */
export function page({ title, main, bare = false }: { title: string; main: string; bare?: boolean }): string {
  const content = bare ? main : `<div class="card">${main}</div>`
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${escapeHtml(title)}</title>
<style>${style}</style>
</head>
<body>
<main>
${content}
</main>
</body>
</html>
`
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** For text and for attribute values in quotes. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => entities[char] ?? char)
}

/** Changes whenever the look of a page does: part of the ETag of what we generate. */
export function assetHash(...sources: readonly string[]): string {
  return createHash('sha256')
    .update([style, ...sources].join('\0'))
    .digest('hex')
    .slice(0, 16)
}
