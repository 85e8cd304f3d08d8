# nats-server from its own image: the version that src/nats/server-pins.ts pins.
FROM nats:2.15.1-alpine AS nats

FROM node:24-alpine AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc tsconfig.json tsconfig.build.json ./
RUN npm ci --ignore-scripts
COPY src ./src
RUN npm run build && npm prune --omit=dev --ignore-scripts

FROM node:24-alpine
ENV NODE_ENV=production \
    STOWAGE_DATA=/data \
    STOWAGE_NATS_SERVER=/usr/local/bin/nats-server \
    STOWAGE_GATEWAY_HOST=0.0.0.0 \
    STOWAGE_API_HOST=0.0.0.0
COPY --from=nats /usr/local/bin/nats-server /usr/local/bin/nats-server
COPY --from=build /app/package.json /app/package.json
COPY --from=build /app/node_modules /app/node_modules
COPY --from=build /app/dist /app/dist
RUN ln -s /app/dist/main.js /usr/local/bin/stowage && chmod +x /app/dist/main.js \
 && install -d -o node -g node -m 700 /data
USER node
WORKDIR /data
VOLUME /data
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8081/readyz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# SIGTERM reaches node itself, so that requests under way may finish.
ENTRYPOINT ["node", "/app/dist/main.js"]
CMD ["serve"]
