# The daemon in a container: docs/install.md says how to run it.
#
#   docker build -t linkhold .

FROM node:26-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY . .
# The package itself, as from the registry: `npm pack` builds it.
RUN npm pack --pack-destination /tmp \
 && npm install --global --prefix /opt/linkhold --no-audit --no-fund /tmp/linkhold-*.tgz

FROM node:26-bookworm-slim
# GnuTLS is for heartbeats of TLS. tini is process 1: a relay that dies leaves its keeper to process 1,
# which has to take note of its end. (With `docker run --init` there is one too; two do no harm.)
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgnutls30 tini \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 7117 --home-dir /var/lib/linkhold --shell /usr/sbin/nologin linkhold \
 && install --directory --owner=7117 --group=linkhold --mode=0700 /var/lib/linkhold \
 && install --directory /etc/linkhold
COPY --from=build /opt/linkhold /opt/linkhold
ENV PATH=/opt/linkhold/bin:$PATH \
    NODE_ENV=production \
    NODE_OPTIONS=--max-semi-space-size=8
# A number, so that an orchestrator can see that it is not root.
USER 7117
VOLUME /var/lib/linkhold
EXPOSE 7117
# Beyond loopback the API answers nothing but /healthz without a token.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s CMD \
  ["node", "-e", "fetch('http://127.0.0.1:7117/healthz').then(({ok}) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["tini", "--", "linkhold"]
CMD ["run", "/etc/linkhold/linkhold.yaml", "--state-dir", "/var/lib/linkhold", "--listen", "0.0.0.0:7117"]
