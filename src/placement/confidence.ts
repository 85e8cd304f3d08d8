/** A verified copy in reach, as far as confidence goes by it. Copies that were only claimed are none. */
export interface CheckedCopy {
  /** RFC 3339; when every block of it was last hashed. */
  readonly verifiedAt: string
  /** Failure domains that it lies in: more than one for a store whose replicas span zones. At least one. */
  readonly domains: readonly string[]
}

/**
 * That a copy whose blocks were all hashed a moment ago can be read now. Not 1: its store may have failed since, and a hash
 * says nothing of the disk's next minute.
 */
export const copyTrust = 0.99
/**
 * That a failure domain is there when it is needed: a zone or a site that is away for three and a half days a year. However
 * many copies lie in it, a domain is trusted no further than this.
 */
export const domainTrust = 0.99
/**
 * After so long without a look a copy counts for half. Thirty days, since disks that lose sectors silently lose them over
 * months, and a scrub of the whole store is meant to come round within that time.
 */
export const halfLifeMs = 30 * 24 * 3600 * 1000

/**
 * How far one may rely on content being there, in [0, 1]:
 *
 *     1 − Π over failure domains d of (1 − domainTrust · (1 − Π over copies c in d of (1 − copyTrust · 2^(−age(c) / halfLife))))
 *
 * Domains fail on their own, so their failures multiply; copies in one domain fail together with it, so a second one there
 * adds little. Only copies that this domain's own log says were verified count, and the longer that is ago the less: one's
 * own confidence, not the sender's. One fresh copy is 0.98, two in two domains are 0.9996.
 */
export function confidenceOf(copies: readonly CheckedCopy[], nowMs: number): number {
  const missing = new Map<string, number>()
  for (const { verifiedAt, domains } of copies) {
    // A clock that is ahead at another site does not make a copy younger than new.
    const ageMs = Math.max(0, nowMs - Date.parse(verifiedAt))
    if (Number.isNaN(ageMs)) continue
    const lost = 1 - copyTrust * 2 ** (-ageMs / halfLifeMs)
    for (const domain of new Set(domains)) missing.set(domain, (missing.get(domain) ?? 1) * lost)
  }
  let allFail = 1
  for (const lost of missing.values()) allFail *= 1 - domainTrust * (1 - lost)
  return 1 - allFail
}
