import type { Command } from 'commander'
import type { Fields } from '../../client/reply-fields.ts'
import { AppError } from '../../errors.ts'
import { formatBytes } from '../../lib/units.ts'
import type { Io } from '../io.ts'
import { readJsonFile } from '../json-file.ts'
import { wholeNumber } from '../number-option.ts'
import { printable } from '../printable.ts'
import { formatSeconds } from '../progress.ts'
import { clientCommand, type Session, withSession } from '../session.ts'
import { parseSince } from '../since.ts'
import { tableLines } from '../table.ts'

interface PlanOptions {
  readonly policy?: string
  readonly limit?: number
}

export function planCommand(io: Io): Command {
  return clientCommand('plan')
    .description('show what the policy, or another one, would do now: steps, bytes and time; nothing is done')
    .option('--policy <file>', 'this document instead of the policy that holds, or - for stdin')
    .option('--limit <n>', 'steps that are shown (default: 20)', wholeNumber)
    .option('--dry-run', 'that nothing is done is always so; taken for clarity')
    .addHelpText('after', '\nExamples:\n  $ stowage policy plan\n  $ stowage policy plan --policy new.json --limit 100')
    .action(({ policy, limit = 20 }: PlanOptions, command: Command) =>
      withSession(io, command.optsWithGlobals(), async (session) => {
        const { client, config, out, signal } = session
        const document = await documentIn(policy, session)
        const plan = await client.policies.plan(config.layout.space, { document, limit, signal })
        await out.result(plan, planText(plan))
      }),
    )
}

interface BacktestOptions {
  readonly reads: string
  readonly policy?: string
}

export function backtestCommand(io: Io): Command {
  return clientCommand('backtest')
    .description('replay the read log against the policy, or another one: hit rate by site, bytes moved')
    .requiredOption('--reads <since..until>', 'times, or how long ago: 7d..1d, 2026-01-01..2026-02-01, 24h..')
    .option('--policy <file>', 'this document instead of the policy that holds, or - for stdin')
    .addHelpText('after', '\nExamples:\n  $ stowage policy backtest --reads 7d.. --policy near-readers.json')
    .action(({ reads, policy }: BacktestOptions, command: Command) =>
      withSession(io, command.optsWithGlobals(), async (session) => {
        const { client, config, out, signal } = session
        const range = rangeIn(reads)
        const document = await documentIn(policy, session)
        const result = await client.policies.backtest(config.layout.space, { document, ...range, signal })
        await out.result(result, backtestText(result))
      }),
    )
}

async function documentIn(file: string | undefined, session: Session): Promise<unknown> {
  return file === undefined ? undefined : readJsonFile(file, session)
}

/** `7d..1d`; without an end it is now. @throws AppError REQUEST_INVALID */
function rangeIn(text: string): { readonly since: string; readonly until: string } {
  const [since = '', until = '', ...rest] = text.split('..')
  if (since === '' || rest.length > 0 || !text.includes('..')) {
    throw new AppError('REQUEST_INVALID', '--reads takes a range like 7d..1d or 2026-01-01..2026-02-01')
  }
  return { since: parseSince(since), until: until === '' ? new Date().toISOString() : parseSince(until) }
}

const count = (value: unknown): string => Number(value ?? 0).toLocaleString('en')
const record = (value: unknown): Fields => (typeof value === 'object' && value !== null ? (value as Fields) : {})
const list = (value: unknown): readonly Fields[] => (Array.isArray(value) ? (value as Fields[]) : [])

export function planText(plan: Fields): string {
  const { roots, rootsSkipped, satisfied, degraded, estimatedSeconds } = plan
  const [adds, removes] = [record(plan.adds), record(plan.removes)]
  const time = typeof estimatedSeconds === 'number' ? `, about ${formatSeconds(estimatedSeconds)}` : ''
  const lines = [
    `${count(roots)} objects: ${count(satisfied)} satisfied, ${count(degraded)} on too few failure domains`,
    ...(Number(rootsSkipped) > 0 ? [`${count(rootsSkipped)} more objects were not looked at`] : []),
    `to be made: ${count(adds.copies)} copies, ${formatBytes(Number(adds.bytes ?? 0))}${time}`,
    `to be dropped: ${count(removes.copies)} copies, ${formatBytes(Number(removes.bytes ?? 0))}`,
  ]
  const sections = [
    section(
      'rules',
      Object.entries(record(plan.rules)).map(([rule, number]) => [rule, `${count(number)} objects`]),
    ),
    section('copies to', list(plan.to).map(moveCells)),
    section(
      'cannot be met',
      list(plan.unmet).map(({ why, roots: of }) => [`${count(of)} objects`, String(why)]),
    ),
    section('first steps', list(plan.steps).map(stepCells)),
  ]
  return [...lines, ...sections.flat()].join('\n')
}

function section(title: string, rows: readonly (readonly string[])[]): string[] {
  if (rows.length === 0) return []
  return [
    `${title}:`,
    ...tableLines(rows)
      .split('\n')
      .map((line) => `  ${line}`),
  ]
}

function moveCells({ site, store, newStore, copies, bytes }: Fields): string[] {
  return [
    `${String(site)}/${String(store)}`,
    `${count(copies)} copies`,
    formatBytes(Number(bytes)),
    newStore === true ? 'a new store' : '',
  ]
}

export function stepCells({ kind, root, to, bytes, why }: Fields): string[] {
  const { site, store } = record(to)
  return [String(kind), String(root), `${String(site)}/${String(store)}`, formatBytes(Number(bytes ?? 0)), String(why)]
}

function backtestText(result: Fields): string {
  const { reads, readsUnknown, roots, hitRate, bytesCrossed, sitesMissing, cut } = result
  const { made, removed, bytes, bytesCrossed: copiesCrossed } = record(result.copies)
  const sites = Object.entries(record(result.sites)).map(([site, sums]) => {
    const { reads: of, hitRate: rate, bytesCrossed: crossed } = record(sums)
    return [
      site,
      `${count(of)} reads`,
      `${percent(rate)} at the site`,
      `${formatBytes(Number(crossed))} from elsewhere`,
    ]
  })
  const missing =
    Array.isArray(sitesMissing) && sitesMissing.length > 0 ? [`not reached: ${sitesMissing.join(', ')}`] : []
  return [
    `${count(reads)} reads of ${count(roots)} objects: ${percent(hitRate)} at the site of the reader, ${formatBytes(Number(bytesCrossed))} from elsewhere`,
    `copies: ${count(made)} made, ${count(removed)} dropped, ${formatBytes(Number(bytes))} copied, ${formatBytes(Number(copiesCrossed))} of it between sites`,
    ...section('sites', sites),
    ...(Number(readsUnknown) > 0 ? [`${count(readsUnknown)} reads of content that is not known here`] : []),
    ...missing.map(printable),
    ...(cut === true ? ['there were more reads than are replayed at a time'] : []),
  ].join('\n')
}

const percent = (share: unknown): string => `${(Number(share) * 100).toFixed(1)} %`
