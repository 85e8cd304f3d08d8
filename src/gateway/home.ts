import { parseContentPath } from '../content/get.ts'
import { AppError } from '../errors.ts'
import { withText } from './errors.ts'
import { page, pagePolicy } from './page.ts'
import type { Reply } from './reply.ts'
import { encodeSegment } from './request.ts'

const about = {
  service: 'stowage gateway',
  read: ['/ipfs/<cid>', '/ipfs/<cid>/<path>', '/ipns/<name>', '/names/<name>'],
  formats: ['?format=raw', '?format=car', '?format=tar'],
}

const html = page({
  title: 'Stowage gateway',
  main: `<h1>Stowage gateway</h1>
<p>Content by its hash or by its name, read only, for any IPFS client.</p>
<form action="/" method="get">
<label for="open">A CID, a path or an address</label>
<div class="ask"><input id="open" name="open" required autocomplete="off" autocapitalize="none" spellcheck="false" placeholder="bafybei… or /ipfs/bafybei…/a.txt"><button>Open</button></div>
</form>
<pre>curl http://this-host/ipfs/&lt;cid&gt;
curl http://this-host/ipfs/&lt;cid&gt;/&lt;path in a directory&gt;
curl http://this-host/names/&lt;name&gt;
curl "http://this-host/ipfs/&lt;cid&gt;?format=car" -o content.car
curl "http://this-host/ipfs/&lt;cid&gt;?format=tar" | tar x</pre>
<p class="hint"><code>stowage add &lt;file&gt;</code> stores something and prints its CID. <a href="https://docs.ipfs.tech/concepts/content-addressing/" rel="noreferrer noopener">What is a CID?</a></p>`,
})

/**
 * This page holds nothing from outside. Its form may be led on to an origin of its own (`<cid>.ipfs.<host>`), which
 * `form-action 'self'` would stop in Chromium.
 */
const policy = pagePolicy.replace("; form-action 'none'", '')

/** `/`: what this is, for people and for programs; `/?open=…` leads to what was typed. @throws AppError CID_INVALID | PATH_INVALID */
export function homeReply(accept: string | undefined, search = ''): Reply {
  const typed = search.length > 1 ? new URLSearchParams(search).get('open') : null
  if (typed !== null) return leadTo(typed.trim())
  if (accept?.includes('text/html')) {
    const headers = ['Content-Type', 'text/html; charset=utf-8', 'Content-Security-Policy', policy]
    return withText(200, ['Cache-Control', 'no-cache', 'Vary', 'Accept', ...headers], html)
  }
  const headers = ['Cache-Control', 'no-cache', 'Vary', 'Accept', 'Content-Type', 'application/json']
  return withText(200, headers, `${JSON.stringify(about, undefined, 2)}\n`)
}

const segmentsMax = 256

/** What people paste: a CID, `/ipfs/<cid>/a b.txt`, `ipfs://…`, or the URL of any other gateway. Only a path of ours comes out. */
function leadTo(typed: string): Reply {
  const text = typed.replace(/^https?:\/\/[^/]*/i, '').replace(/^ip([fn])s:\/\//i, '/ip$1s/')
  const [path = ''] = text.split(/[?#]/, 1)
  const location = pathTo(path)
  const headers = ['Location', location, 'Cache-Control', 'no-store', 'Content-Type', 'text/plain; charset=utf-8']
  return withText(302, headers, `see ${location}\n`)
}

function pathTo(text: string): string {
  const [, namespace, rest = ''] = /^\/(ipfs|ipns|names)\/(.*)$/s.exec(text) ?? []
  const end = text.endsWith('/') ? '/' : ''
  if (namespace === 'ipns' || namespace === 'names') {
    const segments = rest.split('/').filter((segment) => segment !== '')
    return `/${namespace}/${segments.map((segment) => encodeSegment(decoded(segment))).join('/')}${end}`
  }
  const { path } = parseContentPath(namespace === 'ipfs' ? rest : text, { pathSegmentsMax: segmentsMax })
  return `/ipfs/${[path.root, ...path.segments.map(encodeSegment)].join('/')}${end}`
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment).toWellFormed()
  } catch (cause) {
    throw new AppError('PATH_INVALID', 'the path has a percent-encoding that is not UTF-8', { cause })
  }
}
