import { oneCluster, type Places, setPolicy, threeSites, token } from './placement-places.ts'
import { placementRun } from './placement-run.ts'

export interface RoundsOptions {
  readonly seed: number
  readonly endMs: number
  readonly natsServer: string
  readonly log: (line: string) => void
}

const roundMs = 60_000
/**
 * An election takes nats-server some seconds, and a message whose acknowledgement was lost comes again after thirty; for the log
 * of a site that it has lost it asks again at longer and longer intervals, up to two minutes.
 */
const quietMsMax = 130_000
/** Of what a node has printed since its last start. */
const saidMax = 4_000

/**
 * Scenario 7 in turn over three sites and over one cluster, with 2 and 3 copies; the last round goes on to its end.
 * @returns whether all was well
 */
export async function placementRounds({ seed, endMs, natsServer, log }: RoundsOptions): Promise<boolean> {
  let isWell = true
  for (let round = 0; Date.now() < endMs; round++) {
    const isCluster = round % 2 === 1
    const copies = 2 + (Math.floor(round / 2) % 2)
    const places: Places = await (isCluster ? oneCluster : threeSites)(natsServer)
    try {
      await setPolicy(places, copies)
      const result = await placementRun({
        ...{ ...places, token, seed: seed + round, copiesMin: copies, log },
        ...{ putsMax: 1_000, untilMs: Date.now() + roundMs, quietMsMax },
      })
      log(`round ${round}, ${isCluster ? 'a cluster' : 'three sites'}, ${copies} copies: ${JSON.stringify(result)}`)
      const { lost, hollow, below, unsettled } = result
      if (lost.length + hollow.length + below.length + unsettled.length === 0) continue
      isWell = false
      for (const { site, node } of places.nodes) log(`the node of ${site} said: ${node?.output().slice(-saidMax)}`)
    } finally {
      await places.stop()
    }
  }
  return isWell
}
