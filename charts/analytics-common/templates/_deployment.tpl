{{- define "analytics.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "analytics.name" . }}
  labels:
    {{- include "analytics.labels" . | nindent 4 }}
{{- range .Values.requiredConfig }}
{{- $_ := required (printf "config.%s: has no default, give it" .) (index $.Values.config .) }}
{{- end }}
data:
  SERVICE_NAME: {{ printf "analytics-%s" .Chart.Name | quote }}
  HTTP_PORT: "8084"
  {{- range $name, $value := .Values.config }}
  {{- if not (kindIs "invalid" $value) }}
  {{- /* Helm reads whole numbers as floats: 20 GiB must not become 2.147e+10. */}}
  {{ $name }}: {{ kindIs "float64" $value | ternary ($value | toJson) ($value | toString) | quote }}
  {{- end }}
  {{- end }}
{{- end -}}

{{- define "analytics.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "analytics.name" . }}
  labels:
    {{- include "analytics.labels" . | nindent 4 }}
spec:
  {{- if not (or .Values.autoscaling.enabled .Values.keda.enabled) }}
  replicas: {{ .Values.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  strategy:
    type: RollingUpdate
    rollingUpdate:
      {{- toYaml .Values.rollingUpdate | nindent 6 }}
  selector:
    matchLabels:
      {{- include "analytics.selectorLabels" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "analytics.podLabels" . | trim | nindent 8 }}
      annotations:
        # New settings restart the pods: services read their environment once.
        checksum/config: {{ include "analytics.configMap" . | sha256sum }}
        {{- with .Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "analytics.serviceAccountName" . }}
      automountServiceAccountToken: false
      securityContext:
        {{- include "analytics.podSecurityContext" . | nindent 8 }}
      terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
      {{- with include "analytics.podPlacement" . | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- if .Values.topologySpread.enabled }}
      topologySpreadConstraints:
        {{- range .Values.topologySpread.keys }}
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "analytics.selectorLabels" $ | nindent 14 }}
        {{- end }}
      {{- end }}
      containers:
        - name: {{ .Chart.Name }}
          image: {{ include "analytics.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          securityContext:
            {{- include "analytics.containerSecurityContext" . | nindent 12 }}
          ports:
            - name: http
              containerPort: 8084
          envFrom:
            - configMapRef:
                name: {{ include "analytics.name" . }}
          env:
            {{- include "analytics.environment" . | trim | nindent 12 }}
          # A start waits for servers that are not there yet; only a process that never answers is restarted.
          startupProbe:
            httpGet: {path: /analytics/v1/status/healthz, port: http}
            periodSeconds: 2
            failureThreshold: 60
          readinessProbe:
            httpGet: {path: /analytics/v1/status/readyz, port: http}
            periodSeconds: 5
            timeoutSeconds: 4
            failureThreshold: 2
          # Asks for no dependency: restarting pods does not mend a database.
          livenessProbe:
            httpGet: {path: /analytics/v1/status/healthz, port: http}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          lifecycle:
            preStop:
              # Endpoints take seconds to forget the pod; the server stops listening at once when it is told to.
              exec:
                command: [python, -c, "import time; time.sleep({{ .Values.preStopSeconds }})"]
          resources:
            {{- toYaml .Values.resources | nindent 12 }}
          volumeMounts:
            - name: tmp
              mountPath: /tmp
            {{- with .Values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - name: tmp
          emptyDir:
            sizeLimit: {{ .Values.tmpSize }}
        {{- with .Values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end -}}

{{- define "analytics.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "analytics.name" . }}
  labels:
    {{- include "analytics.labels" . | nindent 4 }}
spec:
  type: ClusterIP
  selector:
    {{- include "analytics.selectorLabels" . | nindent 4 }}
  ports:
    - name: http
      port: 8084
      targetPort: http
{{- end -}}

{{- define "analytics.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "analytics.serviceAccountName" . }}
  labels:
    {{- include "analytics.labels" . | nindent 4 }}
  {{- with .Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
{{- end -}}
