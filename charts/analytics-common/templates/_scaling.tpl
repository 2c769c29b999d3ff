{{- define "analytics.podDisruptionBudget" -}}
{{- if .Values.podDisruptionBudget.enabled }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "analytics.name" . }}
  labels:
    {{- include "analytics.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .Values.podDisruptionBudget.maxUnavailable }}
  # A pod that is not ready must not stop a node from being drained.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "analytics.selectorLabels" . | nindent 6 }}
{{- end }}
{{- end -}}

{{- define "analytics.horizontalPodAutoscaler" -}}
{{- if .Values.autoscaling.enabled }}
{{- if .Values.keda.enabled }}{{ fail "autoscaling.enabled and keda.enabled: two scalers would fight over the replicas" }}{{ end }}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "analytics.name" . }}
  labels:
    {{- include "analytics.labels" . | nindent 4 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "analytics.name" . }}
  minReplicas: {{ .Values.autoscaling.minReplicas }}
  maxReplicas: {{ .Values.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .Values.autoscaling.targetCpuPercent }}
  behavior:
    scaleDown:
      stabilizationWindowSeconds: 300
{{- end }}
{{- end -}}

{{- define "analytics.scaledObject" -}}
{{- if .Values.keda.enabled }}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ include "analytics.name" . }}
  labels:
    {{- include "analytics.labels" . | nindent 4 }}
spec:
  scaleTargetRef:
    name: {{ include "analytics.name" . }}
  minReplicaCount: {{ .Values.keda.minReplicas }}
  maxReplicaCount: {{ .Values.keda.maxReplicas }}
  cooldownPeriod: 300
  triggers:
    - type: prometheus
      metricType: {{ .Values.keda.metricType }}
      metadata:
        serverAddress: {{ required "keda.serverAddress: URL of Prometheus" .Values.keda.serverAddress }}
        query: {{ .Values.keda.query | quote }}
        threshold: {{ .Values.keda.threshold | quote }}
{{- end }}
{{- end -}}
