import { withText } from './errors.ts'
import { page, pagePolicy } from './page.ts'
import type { Reply } from './reply.ts'

const about = {
  service: 'stowage gateway',
  read: ['/ipfs/<cid>', '/ipfs/<cid>/<path>'],
  formats: ['?format=raw', '?format=car'],
}

const html = page({
  title: 'Stowage gateway',
  main: `<h1>Stowage gateway</h1>
<p>Content by its hash, read only. Put a CID behind <code>/ipfs/</code>:</p>
<pre>curl http://this-host/ipfs/&lt;cid&gt;
curl http://this-host/ipfs/&lt;cid&gt;/&lt;path in a directory&gt;
curl "http://this-host/ipfs/&lt;cid&gt;?format=car" -o content.car</pre>
<p class="hint"><code>stowage add &lt;file&gt;</code> stores something and prints its CID.</p>`,
})

/** `/`: what this is, for people and for programs. */
export function homeReply(accept: string | undefined): Reply {
  if (accept?.includes('text/html')) {
    const headers = ['Content-Type', 'text/html; charset=utf-8', 'Content-Security-Policy', pagePolicy]
    return withText(200, ['Cache-Control', 'no-cache', 'Vary', 'Accept', ...headers], html)
  }
  const headers = ['Cache-Control', 'no-cache', 'Vary', 'Accept', 'Content-Type', 'application/json']
  return withText(200, headers, `${JSON.stringify(about, undefined, 2)}\n`)
}
