"""The real agent tools: model servers, and Pods that run a tool."""
