export interface TestService {
  readonly ip: string
  readonly ports: readonly {
    readonly port: number
    readonly protocol?: 'TCP' | 'UDP' | 'SCTP'
    readonly name?: string
  }[]
}

/** What the kubelet puts into a pod for the Services of its namespace (pkg/kubelet/envvars). */
export function serviceLinks(services: Readonly<Record<string, TestService>>): Record<string, string> {
  const env: Record<string, string> = {}
  const upper = (name: string) => name.toUpperCase().replaceAll('-', '_')
  for (const [name, { ip, ports }] of Object.entries(services)) {
    const prefix = upper(name)
    env[`${prefix}_SERVICE_HOST`] = ip
    env[`${prefix}_SERVICE_PORT`] = String(ports[0]?.port)
    for (const [index, { port, protocol = 'TCP', name: portName }] of ports.entries()) {
      if (portName !== undefined) env[`${prefix}_SERVICE_PORT_${upper(portName)}`] = String(port)
      const url = `${protocol.toLowerCase()}://${ip.includes(':') ? `[${ip}]` : ip}:${port}`
      if (index === 0) env[`${prefix}_PORT`] = url
      const link = `${prefix}_PORT_${port}_${protocol}`
      env[link] = url
      env[`${link}_PROTO`] = protocol.toLowerCase()
      env[`${link}_PORT`] = String(port)
      env[`${link}_ADDR`] = ip
    }
  }
  return env
}
