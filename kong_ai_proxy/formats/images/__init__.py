"""OpenAI's images API at providers that make images by an API of their own: one file for each form.

Each translation reads the request by `request.ImageRequest`, so that what a provider cannot do is told in one
way, and answers by `answer.images_answer`.
"""
