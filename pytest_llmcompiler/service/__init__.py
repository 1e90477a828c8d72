"""The judge as a service: whole batches of answers, from any thread, from asyncio, on many machines."""
