import { formatBytes } from '../lib/units.ts'
import type { PlacementSummary, StoreSummary } from './summary.ts'

/** What is drawn larger than this is a list that nobody reads: further stores of a site are told as a number. */
const storesPerSiteMax = 12
const siteWidth = 320
const storeHeight = 64
const gap = 24
const headHeight = 76

const style = `
svg{font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;background:#f4f6f9}
.site{fill:#fff;stroke:#c9d3e0}.down .site{fill:#fdf3f2;stroke:#d9534f;stroke-dasharray:5 4}
.store{fill:#eef4fb;stroke:#9dbfe3}.draining .store{fill:#fff8e6;stroke:#e0b94f}.down .store{fill:#fbe9e7;stroke:#e3a39f}
text{fill:#1a2230;font-size:13px}.title{font-size:15px;font-weight:600}.soft{fill:#5c6779;font-size:12px}.warn{fill:#b3261e;font-size:12px}
.bar{fill:#d7e4f3}.held{fill:#3b7dd8}
@media (prefers-color-scheme:dark){svg{background:#0f141b}.site{fill:#171d27;stroke:#2b3442}.store{fill:#1b2a3d;stroke:#35557c}
.down .site{fill:#2a1b1c}.down .store{fill:#3a2324}.draining .store{fill:#33291a}text{fill:#e4e9f1}.soft{fill:#97a3b6}.warn{fill:#f2a39d}.bar{fill:#2b3442}.held{fill:#74b4f7}}
`

/** Where copies lie, as one SVG: a box for each site, a box in it for each store, filled by its share of all roots. */
export function placementPicture({ stores, roots }: PlacementSummary): string {
  const sites = new Map<string, StoreSummary[]>()
  for (const store of stores) {
    if (store.state === 'removed') continue
    const held = sites.get(store.site)
    if (held === undefined) sites.set(store.site, [store])
    else held.push(store)
  }
  const rows = Math.max(1, ...[...sites.values()].map(({ length }) => Math.min(length, storesPerSiteMax)))
  const width = gap + Math.max(1, sites.size) * (siteWidth + gap)
  const height = headHeight + rows * (storeHeight + 10) + 76
  const boxes = [...sites].map(([site, held], index) =>
    siteBox(site, held, roots.all, gap + index * (siteWidth + gap), height),
  )
  const trouble = [
    roots.degraded > 0 ? `${roots.degraded.toLocaleString('en')} degraded` : '',
    roots.lost > 0 ? `${roots.lost.toLocaleString('en')} lost` : '',
  ].filter((text) => text !== '')
  const head = `${counted(roots.all, 'root', 'roots')}, ${formatBytes(BigInt(Math.round(roots.bytes)))}`
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="Where copies lie">
<style>${style}</style>
<text class="title" x="${gap}" y="34">Where copies lie</text>
<text class="soft" x="${gap}" y="56">${head}</text>
<text class="warn" x="${gap + 230}" y="56">${trouble.join(', ')}</text>
${boxes.join('\n')}
</svg>
`
}

function siteBox(site: string, stores: readonly StoreSummary[], roots: number, x: number, height: number): string {
  const isUp = stores.some(({ up }) => up)
  const shown = stores.slice(0, storesPerSiteMax)
  const more = stores.length - shown.length
  const boxes = shown.map((store, index) =>
    storeBox(store, roots, x + 14, headHeight + 44 + index * (storeHeight + 10)),
  )
  return `<g class="${isUp ? 'up' : 'down'}">
<rect class="site" x="${x}" y="${headHeight}" width="${siteWidth}" height="${height - headHeight - 16}" rx="10"/>
<text class="title" x="${x + 14}" y="${headHeight + 27}">${escapeXml(site)}</text>
<text class="${isUp ? 'soft' : 'warn'}" x="${x + siteWidth - 14}" y="${headHeight + 27}" text-anchor="end">${isUp ? 'up' : 'not heard'}</text>
${boxes.join('\n')}
${more > 0 ? `<text class="soft" x="${x + 14}" y="${height - 26}">and ${more} more stores</text>` : ''}
</g>`
}

function storeBox(store: StoreSummary, roots: number, x: number, y: number): string {
  const { copies, usedBytes, state, primary } = store
  const width = siteWidth - 28
  const share = roots === 0 ? 0 : Math.min(1, copies.verified / roots)
  const note = [primary ? 'takes puts' : '', state === 'draining' ? 'draining' : '']
    .filter((text) => text !== '')
    .join(', ')
  const moves = [
    copies.requested > 0 ? `${copies.requested} on their way` : '',
    copies.removing > 0 ? `${copies.removing} to go` : '',
    copies.failed > 0 ? `${copies.failed} failed` : '',
  ].filter((text) => text !== '')
  return `<g class="${state}">
<rect class="store" x="${x}" y="${y}" width="${width}" height="${storeHeight}" rx="7"/>
<text x="${x + 10}" y="${y + 20}">${escapeXml(store.store)}</text>
<text class="soft" x="${x + width - 10}" y="${y + 20}" text-anchor="end">${note}</text>
<rect class="bar" x="${x + 10}" y="${y + 29}" width="${width - 20}" height="6" rx="3"/>
<rect class="held" x="${x + 10}" y="${y + 29}" width="${((width - 20) * share).toFixed(1)}" height="6" rx="3"/>
<text class="soft" x="${x + 10}" y="${y + 53}">${counted(copies.verified, 'copy', 'copies')}, ${formatBytes(BigInt(Math.round(usedBytes)))}</text>
<text class="warn" x="${x + width - 10}" y="${y + 53}" text-anchor="end">${moves.join(', ')}</text>
</g>`
}

const counted = (count: number, one: string, many: string): string =>
  `${count.toLocaleString('en')} ${count === 1 ? one : many}`

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

const escapeXml = (text: string): string => text.replace(/[&<>"']/g, (char) => entities[char] ?? char)
