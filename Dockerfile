# tungate in a container. It routes the network namespace that it is started in:
#   docker run --network host --cap-add=NET_ADMIN --device=/dev/net/tun \
#     -v ./tungate.yaml:/etc/tungate/tungate.yaml tungate
# --network host makes it the router of the host. Docker mounts /proc/sys read-only: add --security-opt systempaths=unconfined,
# or tungate says which setting it could not write.

FROM node:20-bookworm AS build
WORKDIR /tungate
COPY package.json package-lock.json binding.gyp ./
COPY native native
COPY scripts scripts
RUN npm ci --no-audit --no-fund
COPY tsconfig.json ./
COPY src src
RUN node scripts/build-native.mjs && node_modules/.bin/tsc --incremental false && npm prune --omit=dev --ignore-scripts

# Only Node itself: no npm, no compiler, no shell tools of ours.
FROM debian:bookworm-slim
COPY --from=build /usr/local/bin/node /usr/local/bin/node
WORKDIR /tungate
COPY --from=build /tungate/package.json ./
COPY --from=build /tungate/node_modules node_modules
COPY --from=build /tungate/build/Release/tungate.node build/Release/
COPY --from=build /tungate/dist/src dist/src
COPY deploy/container/healthcheck.mjs deploy/container/
COPY LICENSE ./
# SIGTERM puts the host's kernel back as it was; docker's 10 s are far more than it takes. To hand over to the next container instead
# (flows stay), keep /run/tungate on a volume and stop with: docker kill --signal=SIGUSR2
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["node", "/tungate/deploy/container/healthcheck.mjs"]
ENTRYPOINT ["node", "/tungate/dist/src/cli.js"]
CMD ["up", "-c", "/etc/tungate/tungate.yaml"]
