import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import { expect, test } from 'vitest'
import type { LogMessage } from '../../src/names/name-fold.ts'
import { standingOfObject } from '../../src/names/object-life.ts'
import { ObjectLog } from '../../src/names/object-log.ts'
import type { LoggedMessage } from '../../src/nats/log-reader.ts'
import { cid, Domain, lifeIn, logOf, said, siteNames, step } from '../support/object-words.ts'

const signal = new AbortController().signal
const root = CID.parse(cid)

/** The log of one site. @param lags how often a replica answers that has nothing yet */
function logAt(site: string, all: readonly LogMessage[], { tellsAllSubjects = true, lags = 0 } = {}) {
  const messages = all.map((message): LoggedMessage => ({ ...message, payload: Buffer.from(message.payload) }))
  const matches = (filter: string, { subject }: LogMessage) =>
    new RegExp(`^${filter.replaceAll('.', '\\.').replaceAll('*', '[^.]+')}$`).test(subject)
  let [reads, left] = [0, lags]
  const reader = {
    tellsAllSubjects,
    isReadable: async () => true,
    subjects: async () => messages.map(({ subject }) => subject),
    last: async (filters: readonly string[]) =>
      filters.flatMap((filter) => {
        const found = messages.filter((message) => matches(filter, message))
        const bySubject = new Map(found.map((message) => [tellsAllSubjects ? message.subject : '', message]))
        return [...bySubject.values()]
      }),
    from: async function* (filter: string) {
      reads++
      if (left-- > 0) return
      yield* messages.filter((message) => matches(filter, message))
    },
  }
  return { log: new ObjectLog(reader, { domain: 'stowage', site, space: 'main', node: 'n' }), reads: () => reads }
}

test('how a root stands, and what is to be said later than what, is told by the log as by the fold of all of it', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 16 }),
      fc.nat(2),
      fc.boolean(),
      async (steps, at, tellsAllSubjects) => {
        const domain = new Domain(true)
        for (const one of steps) domain.does(one)
        const messages = logOf(domain.logs[at] ?? [])
        const site = siteNames[at] ?? ''
        const { log } = logAt(site, messages, { tellsAllSubjects })
        const [told, folded] = [await log.lifeOf(root, [], signal), lifeIn(messages)].map(standingOfObject)
        expect({ ...told, atMs: 0 }).toEqual({ ...folded, atMs: 0 })
        const elsewhere = lifeIn(messages).filter((word) => word.site !== site)
        const latest = elsewhere.length === 0 ? undefined : Math.max(...elsewhere.map(({ atMs }) => atMs))
        const after = await log.latestElsewhere([root], signal)
        expect(after === undefined ? undefined : Date.parse(after)).toBe(latest)
      },
    ),
  )
})

test('what only this site has spoken of is told by its last words, without reading more', async () => {
  const { log, reads } = logAt('hub', logOf([said('hub', 'added', 1000), said('hub', 'deleted', 2000)]))
  expect(await log.lifeOf(root, [], signal)).toMatchObject([{ deleted: true, revision: 2 }])
  expect(await log.latestElsewhere([root], signal)).toBeUndefined()
  expect(reads()).toBe(0)
})

test('a replica that lags behind is asked again, and what is no event of ours hides nothing', async () => {
  const both = logOf([said('hub', 'added', 1000), said('paris', 'deleted', 2000)])
  const lagging = logAt('hub', both, { tellsAllSubjects: false, lags: 2 })
  expect(standingOfObject(await lagging.log.lifeOf(root, [], signal))).toMatchObject({ deleted: true, site: 'paris' })
  expect(lagging.reads()).toBe(3)
  const poison = { subject: both[0]?.subject ?? '', sequence: 3, payload: Buffer.from('no json') }
  const { log } = logAt('hub', [...both.slice(0, 1), poison])
  expect(await log.lifeOf(root, [], signal)).toMatchObject([{ deleted: false, revision: 1 }])
})

test('another site has said its latest where its clock was ahead, though something came after that', async () => {
  const { log } = logAt('hub', logOf([said('paris', 'added', 9000), said('paris', 'added', 1000)]))
  expect(await log.latestElsewhere([root], signal)).toBe('1970-01-01T00:00:09.000Z')
})
