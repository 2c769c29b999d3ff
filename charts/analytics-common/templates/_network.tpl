{{/* In: the gateway and Prometheus. Out: name resolution and the servers that this service uses. Nothing else. */}}
{{- define "analytics.networkPolicy" -}}
{{- if .Values.networkPolicy.enabled }}
{{- /* A setting that leads to a server which the policy shuts off would be found out in the running system, late. */}}
{{- range $setting, $server := dict "AUTH_JWKS_URL" "issuer" "EXPORT_WEBHOOK_HOSTS" "webhooks" "OTEL_EXPORTER_OTLP_ENDPOINT" "otel" }}
{{- if and (index $.Values.config $setting) (not (index $.Values.networkPolicy.to $server)) }}
{{- fail (printf "networkPolicy.to.%s: config.%s is set, name the peers that it leads to" $server $setting) }}
{{- end }}
{{- end }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "analytics.name" . }}
  labels:
    {{- include "analytics.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "analytics.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - from:
        {{- if .Values.networkPolicy.fromGateway }}
        {{- toYaml .Values.networkPolicy.fromGateway | nindent 8 }}
        {{- end }}
        {{- toYaml .Values.networkPolicy.fromPrometheus | nindent 8 }}
      ports:
        - {protocol: TCP, port: 8084}
  egress:
    - to:
        {{- toYaml .Values.networkPolicy.toDns | nindent 8 }}
      ports:
        - {protocol: UDP, port: 53}
        - {protocol: TCP, port: 53}
    {{- range $name, $server := .Values.networkPolicy.to }}
    {{- if $server }}
    # {{ $name }}
    - to:
        {{- toYaml $server.peers | nindent 8 }}
      ports:
        {{- range $server.ports }}
        - {protocol: TCP, port: {{ . }}}
        {{- end }}
    {{- end }}
    {{- end }}
{{- end }}
{{- end -}}

{{- define "analytics.httpRoute" -}}
{{- if and .Values.route.paths .Values.route.httpRoute.enabled }}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {{ include "analytics.name" . }}
  labels:
    {{- include "analytics.labels" . | nindent 4 }}
spec:
  parentRefs:
    {{- required "route.httpRoute.parentRefs: the Gateway that the route belongs to" .Values.route.httpRoute.parentRefs | toYaml | nindent 4 }}
  {{- with .Values.route.hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - matches:
        {{- range .Values.route.paths }}
        - path: {type: RegularExpression, value: {{ . | quote }}}
        {{- end }}
      filters:
        # Identity headers are the gateway's to set, after it has checked who calls; a caller's own are dropped.
        - type: RequestHeaderModifier
          requestHeaderModifier:
            remove: [X-Actor-Subject, X-Actor-Roles, X-Actor-Orgs, X-Actor-Signature]
      {{- with .Values.route.httpRoute.timeouts }}
      timeouts:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      backendRefs:
        - name: {{ include "analytics.name" . }}
          port: 8084
{{- end }}
{{- end -}}

{{- define "analytics.ingress" -}}
{{- if and .Values.route.paths .Values.route.ingress.enabled }}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ include "analytics.name" . }}
  labels:
    {{- include "analytics.labels" . | nindent 4 }}
  annotations:
    nginx.ingress.kubernetes.io/use-regex: "true"
    {{- with .Values.route.ingress.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- with .Values.route.ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- with .Values.route.ingress.tls }}
  tls:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    {{- range required "route.hostnames: the host names of the Ingress" .Values.route.hostnames }}
    - host: {{ . }}
      http:
        paths:
          {{- range $.Values.route.paths }}
          - path: {{ . | quote }}
            pathType: ImplementationSpecific
            backend:
              service:
                name: {{ include "analytics.name" $ }}
                port:
                  name: http
          {{- end }}
    {{- end }}
{{- end }}
{{- end -}}

{{- define "analytics.serviceMonitor" -}}
{{- if .Values.serviceMonitor.enabled }}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ include "analytics.name" . }}
  labels:
    {{- include "analytics.labels" . | nindent 4 }}
    {{- with .Values.serviceMonitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "analytics.selectorLabels" . | nindent 6 }}
  endpoints:
    - port: http
      path: /metrics
      interval: {{ .Values.serviceMonitor.interval }}
      relabelings:
        # Rules and dashboards select by job, which is the service's name whatever the release is called.
        - targetLabel: job
          replacement: analytics-{{ .Chart.Name }}
{{- end }}
{{- end -}}
