import { AppError } from '../errors.ts'
import { type Compiled, compileLogic, isTrue, type Value } from './json-logic.ts'
import type { RootContext, RootFacts } from './model.ts'
import { defaultRule, type Policy, type PolicyRule } from './plan-model.ts'

export const policyBytesMax = 64 * 1024
const rulesMax = 256
const copiesMax = 64
const listMax = 64
const daysMax = 36_500

const ruleKeys = ['name', 'when', 'copies', 'sites', 'spread', 'near', 'avoid', 'ack', 'ttlSeconds']
const spreads = ['zone', 'site', 'store'] as const

/**
 * Reads a policy document. Every problem is found and told, each with its place in the document.
 * @param sites names that a rule may use; undefined = any
 * @throws AppError POLICY_INVALID
 */
export function parsePolicy(document: unknown, sites?: ReadonlySet<string>): Policy {
  const problems = new Problems()
  const policy = readPolicy(document, sites, problems)
  if (problems.list.length > 0) {
    throw new AppError(
      'POLICY_INVALID',
      `the policy has ${problems.list.length} problem(s): ${problems.list.join('; ')}`,
      {
        hint: 'docs/placement.md describes the document',
      },
    )
  }
  return policy
}

class Problems {
  readonly list: string[] = []

  add(place: string, what: string): void {
    if (this.list.length < 100) this.list.push(`${place}: ${what}`)
  }
}

type Fields = { readonly [key: string]: unknown }

function fieldsOf(value: unknown, place: string, known: readonly string[], problems: Problems): Fields | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    problems.add(place, 'must be an object')
    return undefined
  }
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) problems.add(place, `has no field ${JSON.stringify(key.slice(0, 40))}`)
  }
  return value as Fields
}

function readPolicy(document: unknown, sites: ReadonlySet<string> | undefined, problems: Problems): Policy {
  const fields = fieldsOf(document, 'policy', ['version', 'rules'], problems)
  if (fields === undefined) return { version: 1, rules: [] }
  if (fields.version !== 1) problems.add('version', 'must be 1')
  const list = Array.isArray(fields.rules) ? (fields.rules as readonly unknown[]) : []
  if (!Array.isArray(fields.rules) || list.length === 0) problems.add('rules', 'must be a list of at least one rule')
  if (list.length > rulesMax) problems.add('rules', `must be at most ${rulesMax}`)
  const rules = list.slice(0, rulesMax).map((rule, index) => readRule(rule, `rules[${index}]`, sites, problems))
  const names = new Set<string>()
  for (const [index, { name, when, ttlSeconds }] of rules.entries()) {
    if (names.has(name)) problems.add(`rules[${index}].name`, `${JSON.stringify(name)} is used twice`)
    names.add(name)
    if (when === undefined && ttlSeconds === undefined && index < rules.length - 1) {
      problems.add(`rules[${index + 1}]`, `is never reached: ${JSON.stringify(name)} before it has no when`)
    }
  }
  return { version: 1, rules }
}

function readRule(
  value: unknown,
  place: string,
  sites: ReadonlySet<string> | undefined,
  problems: Problems,
): PolicyRule {
  const fields = fieldsOf(value, place, ruleKeys, problems)
  if (fields === undefined) return defaultRule
  const { when } = fields
  const name = typeof fields.name === 'string' && /^[\w.-]{1,64}$/.test(fields.name) ? fields.name : undefined
  if (name === undefined) problems.add(`${place}.name`, 'must be 1-64 letters, digits or any of _.-')
  if (when !== undefined) tryLogic(when, place, problems)
  const copies = readCopies(fields.copies, `${place}.copies`, problems)
  const placesAt = (key: 'sites' | 'near' | 'avoid') => readPlaces(fields[key], `${place}.${key}`, key, sites, problems)
  const ttlSeconds = readSeconds(fields.ttlSeconds, `${place}.ttlSeconds`, problems)
  const spread = fields.spread as PolicyRule['spread']
  if (spread !== undefined && !spreads.includes(spread))
    problems.add(`${place}.spread`, `must be one of ${spreads.join(', ')}`)
  const optional = { sites: placesAt('sites'), near: placesAt('near'), avoid: placesAt('avoid'), spread, ttlSeconds }
  return {
    name: name ?? 'unnamed',
    ...(when === undefined ? {} : { when }),
    copies,
    ack: readAck(fields.ack, `${place}.ack`, copies.max, problems),
    ...Object.fromEntries(Object.entries(optional).filter(([, field]) => field !== undefined)),
  }
}

function tryLogic(when: unknown, place: string, problems: Problems): void {
  try {
    compileLogic(when)
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    problems.add(place, error.message)
  }
}

function readCopies(value: unknown, place: string, problems: Problems): PolicyRule['copies'] {
  const isCount = (count: unknown): count is number =>
    typeof count === 'number' && Number.isInteger(count) && count >= 1 && count <= copiesMax
  if (isCount(value)) return { min: value, max: value }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    problems.add(place, `must be a whole number from 1 to ${copiesMax}, or {min, max}`)
    return defaultRule.copies
  }
  const { min, max = min } = fieldsOf(value, place, ['min', 'max'], problems) as { min?: unknown; max?: unknown }
  if (isCount(min) && isCount(max) && min <= max) return { min, max }
  problems.add(place, `min and max must be whole numbers from 1 to ${copiesMax}, and min no larger than max`)
  return defaultRule.copies
}

/** Names of sites and `label=value`; `near` also `projections` and `demand`. Compared letter by letter: no patterns. */
function readPlaces(
  value: unknown,
  place: string,
  key: 'sites' | 'near' | 'avoid',
  sites: ReadonlySet<string> | undefined,
  problems: Problems,
): readonly string[] | undefined {
  if (value === undefined) return undefined
  if (!Array.isArray(value) || value.length === 0 || value.length > listMax) {
    problems.add(place, `must be a list of 1 to ${listMax} places`)
    return undefined
  }
  for (const [index, item] of (value as readonly unknown[]).entries()) {
    const isDynamic = key === 'near' && (item === 'projections' || item === 'demand')
    if (isDynamic || (typeof item === 'string' && /^[\w-]{1,32}=[\w.:-]{1,64}$/.test(item))) continue
    if (typeof item !== 'string' || !/^[\w-]{1,64}$/.test(item)) {
      problems.add(`${place}[${index}]`, 'must be the name of a site, or label=value')
    } else if (sites !== undefined && !sites.has(item)) {
      problems.add(`${place}[${index}]`, `there is no site ${JSON.stringify(item)}`)
    }
  }
  return value as readonly string[]
}

function readAck(value: unknown, place: string, copies: number, problems: Problems): PolicyRule['ack'] {
  if (value === undefined || value === 'local') return 'local'
  if (value === 'policy') return 'policy'
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= copies) return value
  problems.add(place, 'must be "local", "policy", or a number of copies up to max')
  return 'local'
}

function readSeconds(value: unknown, place: string, problems: Problems): number | undefined {
  if (value === undefined) return undefined
  if (typeof value === 'number' && value > 0 && value <= daysMax * 86_400) return value
  problems.add(place, `must be a number of seconds up to ${daysMax} days`)
  return undefined
}

/** What a rule says to one root, for people. */
export interface RuleVerdict {
  readonly rule: string
  readonly applies: boolean
  readonly why: string
}

/** A policy made ready to be asked about many roots. */
export interface CompiledPolicy {
  /** The rule for this content now; the default where none matches. @throws AppError POLICY_INVALID when a `when` costs too much */
  ruleFor(facts: RootFacts, context: RootContext, nowMs: number): PolicyRule
  /** Each rule up to the one that applies, which is the last. @throws as `ruleFor` */
  explain(facts: RootFacts, context: RootContext, nowMs: number): readonly RuleVerdict[]
  readonly rules: readonly PolicyRule[]
}

interface CompiledRule {
  readonly rule: PolicyRule
  readonly holds: Compiled | undefined
}

export function compilePolicy(policy: Policy | undefined): CompiledPolicy {
  const rules = (policy?.rules ?? []).map(
    (rule): CompiledRule => ({ rule, holds: rule.when === undefined ? undefined : compileLogic(rule.when) }),
  )
  return {
    rules: rules.map(({ rule }) => rule),
    ruleFor: (facts, context, nowMs) => {
      let data: Value | undefined
      for (const { rule, holds } of rules) {
        if (rule.ttlSeconds !== undefined && ageOf(facts, nowMs) > rule.ttlSeconds) continue
        if (holds === undefined) return rule
        data ??= dataOf(facts, context, nowMs)
        if (isTrue(holds(data))) return rule
      }
      return defaultRule
    },
    explain: (facts, context, nowMs) => {
      const verdicts: RuleVerdict[] = []
      for (const one of rules) {
        const verdict = verdictOf(one, facts, context, nowMs)
        verdicts.push(verdict)
        if (verdict.applies) return verdicts
      }
      const why = rules.length === 0 ? 'no policy was set' : 'no rule of the policy applies'
      return [...verdicts, { rule: defaultRule.name, applies: true, why }]
    },
  }
}

function verdictOf({ rule, holds }: CompiledRule, facts: RootFacts, context: RootContext, nowMs: number): RuleVerdict {
  const { name, ttlSeconds, when } = rule
  const age = ageOf(facts, nowMs)
  if (ttlSeconds !== undefined && age > ttlSeconds) {
    return {
      rule: name,
      applies: false,
      why: `it holds for ${ttlSeconds} s, and the content is ${Math.round(age)} s old`,
    }
  }
  if (holds === undefined) return { rule: name, applies: true, why: 'it has no when' }
  const applies = isTrue(holds(dataOf(facts, context, nowMs)))
  return { rule: name, applies, why: `${JSON.stringify(when)} is ${applies ? 'true' : 'false'}` }
}

const ageOf = ({ addedAt }: RootFacts, nowMs: number): number => Math.max(0, (nowMs - Date.parse(addedAt)) / 1000)

/** What `when` can ask about. `name` is the first of the names. */
function dataOf(facts: RootFacts, { names, demand, projectedAt }: RootContext, nowMs: number): Value {
  return {
    cid: facts.root,
    name: names[0] ?? null,
    names,
    mediaType: facts.mediaType,
    size: facts.bytes ?? null,
    owner: facts.owner,
    site: facts.originSite,
    // Few rules ask for these, and of a million roots they cost.
    get ageSeconds() {
      return ageOf(facts, nowMs)
    },
    get demand() {
      return Object.values(demand).reduce((sum, rate) => sum + rate, 0)
    },
    projectedAt,
  }
}
