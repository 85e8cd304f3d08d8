import { closestWord } from './closest-word.ts'
import { isServiceLink, isServiceLinkUrl } from './service-links.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** Variables that begin like a program's settings and are none; each told in one sentence. */
export interface StrayVariables {
  /** A person has probably mistyped these. */
  readonly unknown: readonly string[]
  /** Kubernetes has put these there for a Service whose name is like the program's; where it hides a setting, that one is named. */
  readonly links: readonly string[]
}

/**
 * @param prefix `STOWAGE_` @param settings names without the prefix
 * @param ports those of `settings` that are port numbers: a link there is no number, and is passed over
 */
export function strayVariables(
  env: Environment,
  prefix: string,
  settings: readonly string[],
  ports: ReadonlySet<string>,
): StrayVariables {
  const known = new Set(settings)
  const unknown: string[] = []
  const hiding: string[] = []
  let others = 0
  for (const [variable, value = ''] of Object.entries(env)) {
    if (!variable.startsWith(prefix)) continue
    const name = variable.slice(prefix.length)
    if (known.has(name)) {
      if (ports.has(name) && isServiceLinkUrl(value)) hiding.push(variable)
    } else if (isServiceLink(variable, value)) others++
    else unknown.push(unknownText(variable, closestWord(name, settings), prefix))
  }
  return { unknown, links: [...hiding.map(linkText), ...(others === 0 ? [] : [othersText(others, prefix)])] }
}

const unknownText = (variable: string, meant: string | undefined, prefix: string): string =>
  `${variable} is no setting and is passed over${meant === undefined ? '' : `; did you mean ${prefix}${meant}?`}`

const linkText = (variable: string): string =>
  `${variable} is a link that Kubernetes made for a Service, not a port: it is passed over; give the port as a flag, or set enableServiceLinks: false`

const othersText = (count: number, prefix: string): string =>
  `${count} variable${count === 1 ? '' : 's'} ${prefix}… that Kubernetes made for Services ${count === 1 ? 'is' : 'are'} passed over`
