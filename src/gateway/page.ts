import { createHash } from 'node:crypto'

/** No scripts, no fonts, nothing fetched: the page is one file, its icons are shapes cut out of a square. Light and dark follow the reader's system. */
const style = `
:root{color-scheme:light dark;--ink:#1a2230;--soft:#5c6779;--line:#e3e7ee;--paper:#fff;--back:#f4f6f9;--link:#0b5cad;--hover:#f0f5fb;--dir:#c98a12;--num:#8a3ffc;--text:#116b4f}
@media (prefers-color-scheme:dark){:root{--ink:#e4e9f1;--soft:#97a3b6;--line:#2b3442;--paper:#171d27;--back:#0f141b;--link:#74b4f7;--hover:#1e2733;--dir:#e0b04a;--num:#c49bff;--text:#7fd4b4}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.35rem;margin:0 0 .5rem;line-height:1.3;overflow-wrap:anywhere;unicode-bidi:plaintext}
a{color:var(--link);text-decoration:none;unicode-bidi:isolate}
a:hover,a:focus-visible{text-decoration:underline}
code,pre,.ipfs-hash,.path,.code,.node{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.86em}
pre code{font-size:1em}
.card{background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:1.25rem 1.4rem}
.card.list{padding:0;overflow:hidden}
.list header{padding:1.1rem 1.4rem .9rem;border-bottom:1px solid var(--line)}
.path{overflow-wrap:anywhere;color:var(--soft)}
.meta,.hint,.code,.note{color:var(--soft)}
.meta{font-size:.88rem;margin:.45rem 0 0}
.code{margin-bottom:0}
.status{font-size:2.6rem;line-height:1;margin:.2rem 0 .6rem;color:var(--soft);font-variant-numeric:tabular-nums}
p{overflow-wrap:anywhere}
table{width:100%;border-collapse:collapse;table-layout:fixed}
td,th{padding:.5rem .7rem;border-bottom:1px solid var(--line);text-align:left;font-weight:400;vertical-align:top}
tr:last-child td{border-bottom:0}
tbody tr:hover{background:var(--hover)}
td:first-child,th:first-child{padding-left:1.4rem;overflow-wrap:anywhere}
td:last-child,th:last-child{padding-right:1.4rem}
th{font-size:.8rem;color:var(--soft)}
th a{color:inherit}
th [aria-current]{color:var(--ink)}
.kind{margin-left:1rem}
tbody td:first-child{padding-left:3.1rem}
tbody td:first-child::before{content:"";display:inline-block;width:18px;height:18px;margin:0 .55rem 0 calc(-18px - .55rem);vertical-align:-.22em;background:var(--soft)}
td.d::before{background:var(--dir)!important;content:""/"directory or large file";clip-path:path("M1 3h6l2 2h8v11H1z")}
td.u::before{content:""/"up";clip-path:path("M9 2l6 6.500h-4V16H7V8.500H3z")}
td.f::before,td.l::before{content:""/"file";clip-path:path(evenodd,"M3 1h8l4 4v12H3zM4.500 2.500v13h9V6.500h-4v-4z")}
td.l::before{content:""/"likely a large file";clip-path:path("M3 1h8l4 4v12H3z")!important}
td.n::before{content:""/"data";background:var(--num)!important;clip-path:path(evenodd,"M9 1l8 8-8 8-8-8zM9 4.500l-4.500 4.500 4.500 4.500 4.500-4.500z")}
.size{width:7.5rem;text-align:right;white-space:nowrap;color:var(--soft);font-variant-numeric:tabular-nums}
td.size{font-size:.94rem}
.cid{width:11rem;white-space:nowrap;text-align:right}
.ipfs-hash{color:var(--soft)}
nav{padding:.8rem 1.4rem;border-top:1px solid var(--line);display:flex;flex-wrap:wrap;gap:.4rem 1.5rem}
nav+.note{margin-top:-.3rem}
.note{padding:0 1.4rem .9rem;margin:0;font-size:.88rem}
.empty{padding:1.4rem;margin:0;color:var(--soft)}
pre{overflow-x:auto;background:var(--back);border-radius:6px;padding:.7rem .9rem;margin:.8rem 0}
form{margin:1.1rem 0}
label{display:block;font-size:.88rem;color:var(--soft);margin-bottom:.3rem}
.ask{display:flex;gap:.6rem}
input,button{font:inherit;color:inherit;border:1px solid var(--line);border-radius:6px;padding:.45rem .7rem;background:var(--back)}
input{flex:1;min-width:0}
button{background:var(--link);border-color:var(--link);color:var(--paper);cursor:pointer}
.node{padding:.9rem 1.4rem;overflow-wrap:anywhere}
.node ul{list-style:none;margin:0;padding:0}
.node ul ul{padding-left:1.1rem;border-left:1px solid var(--line)}
.node b,.node span{unicode-bidi:isolate}
.node li{padding:.1rem 0}
.node b{font-weight:600}
.node b::after{content:":";color:var(--soft);font-weight:400}
.node .items>li>b{color:var(--soft);font-weight:400}
.node .text{color:var(--text)}
.node .scalar{color:var(--num)}
.node .bytes,.node .empty{color:var(--soft);padding:0}
@media (max-width:36rem){main{margin:.8rem auto;padding:0 .6rem}.card{padding:1rem}.cid{display:none}.size{width:6.2rem}td:last-child,th:last-child{padding-right:1rem}th:first-child,.list header,nav,.note,.node,.empty{padding-left:1rem}tbody td:first-child{padding-left:2.7rem}.list header,.node{padding-right:1rem}.node ul ul{padding-left:.7rem}}
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
